"""Write docs/settings.md from the settings themselves; `--check` only says whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from pydantic.fields import FieldInfo

from core.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEAD = """\
# 设置 Settings

设置来自环境变量，或启动目录下的 `.env` 文件（每行 `名称=值`；环境变量优先）。
启动时逐项检查，填错时用一句话说明是哪一项、应该怎样填。
业务上的“一天”固定按上海时间（Asia/Shanghai）计算，不是设置。

Settings come from the environment or from a file `.env` in the folder you start in (`NAME=value` a line; the
environment wins). They are checked at the start; a wrong one is named in one sentence. A business day is a day in
Shanghai; that is not a setting. This page is written by `tools/settings_doc.py`.

没有填公众号时，一切照常运行，平台由本机的微信沙盒扮演；填了 `WECHAT_APP_ID`、`WECHAT_APP_SECRET`、`WECHAT_TOKEN`、
`WECHAT_ACCOUNT` 四项就接上真实公众号，缺一不可。
Without an account everything runs, and WeChat in a box plays the platform; with all four of those set, the real
account is used.

| 名称 Name | 含义 Meaning | 应为 Must be | 默认 Default |
|---|---|---|---|
"""


def both(zh: str, en: str) -> str:
    return zh if zh == en else f"{zh}<br>{en}"


def row(name: str, field: FieldInfo) -> str:
    extra = cast(dict[str, Any], field.json_schema_extra)
    default = both(*extra["default_is"]) if extra["default_is"] else f"`{field.default}`"
    return f"| `{name.upper()}` | {both(extra['zh'], extra['en'])} | {both(*extra['must_be'])} | {default} |\n"


def page() -> str:
    """The whole page."""
    return HEAD + "".join(row(name, field) for name, field in Settings.model_fields.items() if field.description)


def main(arguments: list[str]) -> int:
    if "--check" in arguments:
        is_current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()
        if not is_current:
            print("docs/settings.md 过期。 docs/settings.md is stale: run tools/settings_doc.py.", file=sys.stderr)
        return 0 if is_current else 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
