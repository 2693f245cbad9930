"""What reply rules are called, in front of merchants and operators alike."""

from __future__ import annotations

from typing import Any, Final

from flask import Flask
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from bot.rules.content import Content
from bot.rules.hours import in_a_line
from bot.rules.matching import CLICK, Judged, Mode, Why

MODES: Final[dict[str, Any]] = {
    Mode.EXACT: _l("完全相同"),
    Mode.CONTAINS: _l("包含"),
    Mode.WILDCARD: _l("通配"),
}
KINDS: Final[dict[str, Any]] = {
    "text": _l("文字"),
    "image": _l("图片"),
    "voice": _l("语音"),
    "video": _l("视频"),
    "location": _l("位置"),
    "link": _l("链接"),
}
_WHY: Final[dict[Why, Any]] = {
    Why.OFF: _l("停用中"),
    Why.WAITING: _l("还没通过审批"),
    Why.OTHER_KIND: _l("不回答这种消息"),
    Why.NO_MATCH: _l("关键词对不上"),
    Why.OTHER_DAY: _l("这一天不回答"),
    Why.OUTSIDE_HOURS: _l("不在回答的时间里"),
    Why.OWNER: _l("也对得上，但店家自己的“%(winner)s”先回答"),
    Why.PRIORITY: _l("也对得上，但“%(winner)s”的优先级更高"),
    Why.MODE: _l("也对得上，但“%(winner)s”对得更准：完全相同先于通配，通配先于包含"),
    Why.SHORTER: _l("也对得上，但“%(winner)s”对上的关键词更长"),
    Why.YOUNGER: _l("也对得上，但“%(winner)s”建得更早"),
}


def register(app: Flask) -> None:
    """Make the words known to the templates."""
    for filter_ in (rule_why, rule_hears, rule_mode, in_a_line):
        app.add_template_filter(filter_)


def rule_mode(mode: Mode) -> str:
    """How a keyword is compared."""
    return str(MODES[mode])


def rule_why(judged: Judged) -> str:
    """Why a rule stayed silent."""
    if judged.why is None:
        return str(_("由它回答"))
    words = str(_WHY[judged.why])
    return words if judged.winner is None else str(words % {"winner": judged.winner.name})


def rule_hears(content: Content) -> list[str]:
    """What a rule listens to: its keywords as written, and kinds of messages."""
    kinds = [str(KINDS[one]) if one in KINDS else _("菜单 %(key)s", key=one.removeprefix(CLICK))
             for one in content.occasions]  # fmt: skip
    return [*(one.words for one in content.patterns), *kinds]
