"""Writes docs/personal-data.md from what the columns say about themselves."""

from pathlib import Path

from sqlalchemy import JSON, Column, LargeBinary, MetaData, String
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from core import migrate

PAGE = Path(__file__).resolve().parent.parent / "docs" / "personal-data.md"
TALKING = (String, LargeBinary, JSON, JSONB, ARRAY)
"""Types that can hold something about a person."""

HEAD = """\
# 保存了哪些个人信息 · Personal data

本页由 `tools/personal_data.py` 从表结构生成，请勿手改；任何能写下文字的列都必须声明自己有没有个人信息，否则测试不通过。
This page is generated from the schema. Every column that can hold text says whether it holds something about a person.

| 列 column | 用途 purpose | 依据 basis | 保存多久 retention |
|---|---|---|---|
"""


def silent_columns(metadata: MetaData) -> list[str]:
    """Columns that could hold something about a person and do not say whether they do (FA-6)."""
    return [f"{column.table.name}.{column.name}" for column in _talking(metadata) if "personal" not in column.info]


def page(metadata: MetaData) -> str:
    """The register, one line for each column with something personal in it."""
    lines = [
        f"| `{column.table.name}.{column.name}` | {entry['purpose']} | {entry['basis']} | {entry['retention']} |"
        for column in _columns(metadata)
        if (entry := column.info.get("personal"))
    ]
    return HEAD + "\n".join(lines) + "\n"


def _talking(metadata: MetaData) -> list[Column[object]]:
    return [column for column in _columns(metadata) if isinstance(column.type, TALKING)]


def _columns(metadata: MetaData) -> list[Column[object]]:
    tables = sorted(metadata.tables.values(), key=lambda table: table.name)
    return [column for table in tables for column in table.columns]


if __name__ == "__main__":
    PAGE.write_text(page(migrate.metadata()), encoding="utf-8")
