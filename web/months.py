"""月报: a merchant's month as a PDF, for herself and for the operator to hand to her, in the words of her pages."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from urllib.parse import quote

from flask import Response, g
from flask_babel import format_date
from flask_babel import gettext as _

from core.clock import SHANGHAI, business_day
from merchants.models import Community, Merchant
from qrcodes import insights
from qrcodes.insights import CodeShare, Gap, Kept
from qrcodes.posters import looks
from qrcodes.reports import months, paper
from qrcodes.reports.months import Month, MonthStory
from qrcodes.reports.paper import Chart, Day, Figure, Line, Sheet, Table
from web.context import now
from web.formats import month, number, signed
from web.language import language_tag
from web.words import CODE_KINDS

CODES_SHOWN: Final = 24
OUTAGES_SHOWN: Final = 3
LABEL_EVERY: Final = 5
WEEK: Final = insights.SPANS.index(7)


def offered(merchant: Merchant) -> list[tuple[str, str, bool]]:
    """The months there is a report of, newest first: the name in the address, what it is called, whether it goes on."""
    today = business_day(now())
    return [(one.name, month(one.first), one.last >= today) for one in months.months(merchant, now())]


def answer(merchant: Merchant, name: str) -> Response:
    """The report of the month 2026-11; raises `NotFound` for one of which there is nothing to tell."""
    story = months.read(g.session, merchant, Month.named(name), now())
    response = Response(paper.pdf(_sheet(merchant, story), at=now()), mimetype="application/pdf")
    file_name = quote(f"{merchant.name} {name}.pdf", safe="")
    response.headers["Content-Disposition"] = f"inline; filename*=UTF-8''{file_name}"
    return response


def _sheet(merchant: Merchant, story: MonthStory) -> Sheet:
    span = story.span
    community = g.session.get_one(Community, merchant.community_id).name
    return Sheet(
        language=language_tag(),
        shop=merchant.name,
        community=community,
        colour=looks.wishes(g.session, merchant_id=merchant.id).colour,
        title=_("商户月报"),
        month=month(story.month.first),
        span=_(
            "%(since)s至%(until)s，共 %(days)s 天", since=_day(span.since), until=_day(span.until), days=len(span.days)
        ),
        badge=_("到昨天为止") if story.is_running else "",
        lead=_lead(story),
        hero=_hero(story),
        figures=_figures(story),
        chart=None if story.is_empty else _chart(story),
        table=_table(story.codes),
        empty=(_("这段时间没有人扫码"), _("把码放到看得见的地方：收银台、桌角、外卖袋。")),
        notes_title=_("这些数是什么意思"),
        meanings=_meanings(has_costs=_has_costs(story.codes)),
        notes=_notes(merchant, story),
        foot=_(
            "数到 %(until)s · 制表 %(at)s · %(community)s",
            until=_moment(story.counted_until),
            at=_moment(now()),
            community=community,
        ),
    )


def _lead(story: MonthStory) -> str:
    """The month in one sentence."""
    counts, until, following = story.counts, _day(story.span.until), number(story.following)
    stay = _("到%(until)s，本店带来的 %(following)s 人还在关注。", until=until, following=following)
    if not counts.scans:
        return str(_("这段时间没有人扫本店的码。%(stay)s", stay=stay))
    words = _(
        "%(people)s 人扫了 %(scans)s 次本店的码，%(new)s 人第一次关注。%(stay)s",
        people=number(counts.scanners),
        scans=number(counts.scans),
        new=number(counts.new),
        stay=stay,
    )
    return str(words)


def _hero(story: MonthStory) -> Figure:
    label, value = _("带来且仍在关注"), number(story.following)
    if story.former_following is None:
        return Figure(label, value)
    change = story.following - story.former_following
    words = _("比上月同期 %(change)s") if story.is_running else _("比上月末 %(change)s")
    return Figure(label, value, words % {"change": signed(change)}, _tone(change))


def _figures(story: MonthStory) -> list[Figure]:
    names = {
        "scanners": _("来的人"),
        "scans": _("扫码"),
        "new": _("新关注"),
        "returning": _("回来的"),
        "lost": _("取关"),
        "net": _("净增"),
    }
    found = []
    for name, label in names.items():
        value: int = getattr(story.counts, name)
        if story.former is None:
            found.append(Figure(label, number(value)))
            continue
        before: int = getattr(story.former, name)
        values = {"change": signed(value - before), "before": number(before)}
        words = (
            _("%(change)s，上月同期 %(before)s", **values)
            if story.is_running
            else _("%(change)s，上月 %(before)s", **values)
        )
        found.append(Figure(label, number(value), words, _tone(before - value if name == "lost" else value - before)))
    return found


def _tone(gain: int) -> str:
    return "good" if gain > 0 else "bad" if gain < 0 else ""


def _chart(story: MonthStory) -> Chart:
    incomplete = story.incomplete_days
    every = LABEL_EVERY if len(story.days) > 2 * LABEL_EVERY else 1
    return Chart(
        title=_("每天的扫码和关注"),
        scans=_("扫码"),
        won=_("新关注和回来的"),
        lost=_("取关"),
        incomplete=_("有过中断，数可能偏少"),
        days=[
            Day(
                label=str(one.day.day) if one.day.day == 1 or one.day.day % every == 0 else "",
                scans=one.counts.scans,
                won=one.counts.new + one.counts.returning,
                lost=one.counts.lost,
                is_incomplete=one.day in incomplete,
            )
            for one in story.days
        ],
    )


def _table(codes: list[CodeShare]) -> Table | None:
    """The codes that brought most; costs have a column where there are any."""
    if not codes:
        return None
    heads, has_costs = [_("二维码"), _("扫码"), _("新关注"), _("7 天后还在")], _has_costs(codes)
    shown, rest = codes[:CODES_SHOWN], codes[CODES_SHOWN:]
    return Table(
        title=_("哪个码带来的"),
        heads=[*heads, _("每个新关注花费")] if has_costs else heads,
        lines=[_line(code, most=max(1, codes[0].new), has_costs=has_costs) for code in shown],
        rest=_(
            "另有 %(codes)s 个码：扫码 %(scans)s，新关注 %(new)s。",
            codes=number(len(rest)),
            scans=number(sum(code.scans for code in rest)),
            new=number(sum(code.new for code in rest)),
        )
        if rest
        else "",
    )


def _line(code: CodeShare, *, most: int, has_costs: bool) -> Line:
    kind = str(CODE_KINDS.get(code.kind, ""))
    cells = [number(code.scans), number(code.new), _kept(code.kept[WEEK])]
    return Line(
        name=_("已移交的码") if code.label is None else code.label,
        detail=" · ".join(words for words in (kind, code.place) if words),
        cells=[*cells, _yuan(code.fen_per_new)] if has_costs else cells,
        share=max(0, code.new) / most,
    )


def _has_costs(codes: list[CodeShare]) -> bool:
    return any(code.cost_fen for code in codes)


def _kept(kept: Kept) -> str:
    if kept.percent is None:
        return "—"
    people, of = number(kept.people), number(kept.of)
    return str(_("%(share)s（%(people)s/%(of)s）", share=f"{kept.percent:.0f}%", people=people, of=of))


def _yuan(fen: int | None) -> str:
    return "—" if fen is None else f"¥{fen / 100:,.2f}"


def _meanings(*, has_costs: bool) -> list[tuple[str, str]]:
    """What the words mean, as on the pages."""
    meanings = [
        (_("来的人"), _("扫过本店的码的不同的人，一个人只算一次。")),
        (_("扫码"), _("本店的码被扫的次数，带来关注的那次也算。")),
        (_("新关注"), _("第一次关注公众号，算本店带来。")),
        (_("回来的"), _("取关过、又关注，算本店带来。")),
        (_("取关"), _("本店带来的人取消了关注。")),
        (_("净增"), _("新关注 + 回来的 − 取关。")),
        (_("带来且仍在关注"), _("从第一天起的净增加在一起。")),
        (_("7 天后还在"), _("这些天新关注和回来的人里，满了 7 天的有几位、还有几位没取关。")),
    ]
    if has_costs:
        meanings.append((_("每个新关注花费"), _("码上记的成本，除以它到那天为止为本店带来的新关注。")))
    return meanings


def _notes(merchant: Merchant, story: MonthStory) -> list[str]:
    """What to know when comparing: with which days, and in which of them something may be missing."""
    notes = [_("天按上海时间、按事情发生的那一刻算。晚到的消息会补进它那一天，所以以后再打印，数可能略有不同。")]
    admitted = business_day(merchant.created_at)
    if story.former_span is None:
        notes.append(_("本店 %(day)s入驻，还没有上个月可以比。", day=_day(admitted)))
    else:
        compared = _(
            "变化是与 %(since)s至%(until)s相比。",
            since=_day(story.former_span.since),
            until=_day(story.former_span.until),
        )
        is_part = admitted > story.former_span.since
        notes.append(compared + (_("本店 %(day)s才入驻。", day=_day(admitted)) if is_part else ""))
    if story.gaps:
        shown = _("；").join(_outage(gap) for gap in story.gaps[:OUTAGES_SHOWN])
        more = _("；等等，共 %(n)s 次", n=len(story.gaps)) if len(story.gaps) > OUTAGES_SHOWN else ""
        notes.append(_("中断时收不到扫码和关注，数可能偏少：%(outages)s。", outages=shown + more))
    return notes


def _outage(gap: Gap) -> str:
    began, ended = gap.began_at.astimezone(SHANGHAI), gap.ended_at.astimezone(SHANGHAI)
    until = f"{ended:%H:%M}" if began.date() == ended.date() else f"{_day(ended)} {ended:%H:%M}"
    return f"{_day(began)} {began:%H:%M} – {until}"


def _day(value: date) -> str:
    """11月22日: the year stands above."""
    return str(format_date(value, _("M月d日")))


def _moment(value: datetime) -> str:
    local = value.astimezone(SHANGHAI)
    return f"{format_date(local.date(), _('y年M月d日'))} {local:%H:%M}"
