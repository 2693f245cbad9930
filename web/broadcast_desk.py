"""What the pages that write broadcasts and the page that approves them show alike: the phone, and the forecast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flask_babel import gettext as _

from campaigns.broadcasts import content
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import NotReached, Route
from campaigns.broadcasts.reach import Forecast
from qrcodes.fans import Filter

Pieces = list[tuple[str, str | None]]


@dataclass(frozen=True)
class OnPhone:
    """One text as the phone shows it: what a mass message says, and links as they are seen."""

    variant: str
    kind: str
    text: Pieces
    title: str
    summary: str
    picture: str | None
    paragraphs: list[Pieces]


def on_phone(words: Mapping[str, Words], picture_url: Callable[[int | None], str | None]) -> list[OnPhone]:
    """All texts of a broadcast as phones show them."""
    return [
        OnPhone(
            variant,
            one.kind,
            content.pieces(content.fill(one.text, {})),
            content.fill(one.title, {}),
            content.fill(one.summary, {}),
            picture_url(one.picture_id),
            content.paragraphs(content.fill(one.text, {})) if one.kind == "article" else [],
        )
        for variant, one in words.items()
    ]


@dataclass(frozen=True)
class Reach:
    """A forecast in the order in which it is read."""

    reached: int
    audience: int
    routes: list[tuple[Route, int]]
    missed: list[tuple[NotReached, int]]
    calls: int
    share_left: int


def reach_of(forecast: Forecast) -> Reach:
    """Ways with somebody on them, and reasons that hold for somebody, the commonest first."""
    return Reach(
        forecast.reached,
        forecast.audience,
        [(route, forecast.routes[route]) for route in Route if forecast.routes.get(route)],
        sorted(((reason, count) for reason, count in forecast.missed.items() if count), key=lambda one: -one[1]),
        forecast.calls,
        forecast.share_left,
    )


def audience_words(wanted: Filter, *, code: str | None = None, coupon: str | None = None) -> str:
    """Whom conditions mean, in one line; `code` and `coupon` are what the wanted ones are called."""
    days = {
        "came_within_days": _("%(days)s 天内第一次来", days=wanted.came_within_days),
        "seen_within_days": _("%(days)s 天内来过", days=wanted.seen_within_days),
        "away_for_days": _("%(days)s 天没来", days=wanted.away_for_days),
    }
    words = [
        _("扫过“%(label)s”", label=code or "") if wanted.code_id else "",
        _("本店带来") if wanted.acquired_only else "",
        _("至少来过 %(count)s 次", count=wanted.visits_at_least) if wanted.visits_at_least else "",
        *(said for name, said in days.items() if getattr(wanted, name)),
        _("标签“%(tag)s”", tag=wanted.tag) if wanted.tag else "",
        _("手里有“%(name)s”", name=coupon or "") if wanted.holds_template_id else "",
        _("手里有券") if wanted.holds_coupon else "",
        _("%(days)s 天内用过券", days=wanted.redeemed_within_days) if wanted.redeemed_within_days else "",
        _("没在本店用过券") if wanted.never_redeemed else "",
        _("积分至少 %(points)s", points=wanted.points_at_least) if wanted.points_at_least else "",
        _("等级至少 %(level)s 级", level=wanted.level_at_least) if wanted.level_at_least else "",
        _("在关注") if wanted.following_only else "",
        _("有“%(words)s”", words=wanted.search) if wanted.search else "",
    ]
    return str(_("，").join(one for one in words if one) or _("全部粉丝"))
