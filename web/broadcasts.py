"""What the merchants' and the operator's pages of a broadcast's progress share: its figures, its lists, its exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from flask import Response, g
from flask_babel import gettext as _
from pydantic import Field, StringConstraints
from sqlalchemy.orm import Session

from campaigns.broadcasts import aftermath, report
from campaigns.broadcasts.aftermath import Followed
from campaigns.broadcasts.models import BatchState, Broadcast, BroadcastState, NotReached, Route
from campaigns.broadcasts.report import Asked, Outcome, Progress, Recipient
from web.broadcast_words import BATCH_STATES, FOLLOWED, OUTCOMES, REASONS, ROUTES, STATES, refusal
from web.context import now
from web.exports import Cell
from web.live import EVERY, live_page
from web.merchant.words import fan_number
from web.query import Query

MANY: Final = 100_000
SELDOM: Final = timedelta(seconds=15)
"""Counting very many takes the database some tenths of a second, so it is asked less often."""
BATCHES_SHOWN: Final = 100
BAR: Final = 1_000
SEGMENTS: Final = (
    Outcome.ACCEPTED, Outcome.REJECTED, Outcome.UNKNOWN, Outcome.UNDERWAY, Outcome.WAITING, Outcome.HELLO,
    Outcome.HELD_OUT, Outcome.SKIPPED, Outcome.CANCELLED,
)  # fmt: skip

Place = Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{10}$")]


class PeopleWishes(Query):
    """Whose share a list is about."""

    outcome: Outcome | None = None
    route: Route | None = None
    reason: NotReached | None = None
    did: Followed | None = None
    code: Annotated[int, Field(ge=1, le=999_999)] | None = None
    """The platform's, of a refusal."""

    @property
    def asked(self) -> Asked:
        return Asked(self.outcome, self.route, self.reason, self.code)

    @property
    def given(self) -> dict[str, str]:
        return {name: str(value) for name in PeopleWishes.model_fields if (value := getattr(self, name)) is not None}

    @property
    def title(self) -> str:
        """What the people of the list have in common."""
        names = (
            (self.did, FOLLOWED), (self.route, ROUTES), (self.outcome, OUTCOMES),
            (self.reason, REASONS),
        )  # fmt: skip
        words = [str(table[value]) for value, table in names if value is not None]
        if self.code is not None:
            words.append(refusal(self.code))
        return " · ".join(words) or str(_("全部收件人"))


@dataclass(frozen=True)
class Segment:
    """A stretch of the bar."""

    outcome: Outcome
    people: int
    begin: float
    width: float


def segments(done: Progress) -> list[Segment]:
    """The bar, in thousandths."""
    found, begin = [], 0.0
    for outcome in SEGMENTS:
        if people := done.of(outcome):
            width = BAR * people / done.total
            found.append(Segment(outcome, people, begin, width))
            begin += width
    return found


def progress_page(page: str, part: str, broadcast: Broadcast, **context: Any) -> Response:
    """Where a broadcast is; asks again for as long as that may change by itself."""
    done = report.progress(g.session, broadcast, now=now())

    def around() -> dict[str, object]:
        return {
            "after": aftermath.aftermath(g.session, broadcast, now=now()) if broadcast.started_at else None,
            "effects": aftermath.effects(g.session, broadcast, now=now()),
            "soon_over": is_over(broadcast, aftermath.SOON),
            "visits_over": is_over(broadcast, aftermath.VISITS),
        }

    return live_page(
        page,
        part,
        is_polling=broadcast.state in report.LIVE,
        every=SELDOM if done.total > MANY else EVERY,
        broadcast=broadcast,
        done=done,
        segments=segments(done),
        waits=report.waits(g.session, broadcast, done, now=now()),
        batches=done.batches[:BATCHES_SHOWN],
        hello_until=broadcast.started_at + timedelta(days=broadcast.hello_days) if broadcast.started_at else None,
        around=around,
        **context,
    )


def is_over(broadcast: Broadcast, within: timedelta) -> bool:
    """Whether what people do within a time of getting it is all in."""
    if broadcast.finished_at is None or broadcast.state not in (BroadcastState.FINISHED, BroadcastState.CANCELLED):
        return False
    moment: datetime = now()
    return moment >= broadcast.finished_at + within


def some_people(
    session: Session, broadcast: Broadcast, wishes: PeopleWishes, *, after: int, limit: int
) -> list[Recipient]:
    """One page of a list."""
    if wishes.did is not None:
        return aftermath.people(session, broadcast, wishes.did, after=after, limit=limit)
    return report.people(session, broadcast, wishes.asked, after=after, limit=limit)


def all_people(session: Session, broadcast: Broadcast, wishes: PeopleWishes) -> Iterator[Recipient]:
    """All of a list."""
    if wishes.did is not None:
        return aftermath.everybody(session, broadcast, wishes.did)
    return report.everybody(session, broadcast, wishes.asked)


def people_heads() -> tuple[str, ...]:
    return (_("编号"), _("方式"), _("版本"), _("结果"), _("原因"), _("时间"))


def person_row(one: Recipient) -> tuple[Cell, ...]:
    """A recipient as a line of an export. Of a mass batch it is the batch that was accepted; whom of it the platform
    left out, it does not tell."""
    return (
        fan_number(one.number) if one.number else _("资料已删除"),
        str(ROUTES[one.route]),
        one.variant.upper(),
        outcome_words(one),
        why(one),
        one.settled_at,
    )


def outcome_words(one: Recipient) -> str:
    """What became of one share."""
    if one.outcome is Outcome.ACCEPTED and one.route is Route.MASS:
        return str(_("所在的一批已被微信接收"))
    return str(OUTCOMES[one.outcome])


def why(one: Recipient) -> str:
    """The reason behind it, if there is one."""
    if one.reason is not None:
        return str(REASONS[one.reason])
    return refusal(one.errcode) if one.outcome is Outcome.REJECTED else ""


def figures_heads() -> tuple[str, ...]:
    return (_("项目"), _("说明"), _("人数"))


def figures(broadcast: Broadcast, done: Progress, after: aftermath.Aftermath | None) -> Iterator[Sequence[Cell]]:
    """Everything the page counts, as lines of an export: what is unknown has a line of its own (BC-16)."""
    yield _("状态"), str(STATES[broadcast.state]), ""
    yield _("收件人"), "", done.total
    yield str(OUTCOMES[Outcome.ACCEPTED]), "", done.accepted
    yield _("其中微信还没给数"), "", done.uncounted
    yield _("微信过滤"), "", done.filtered
    yield _("微信没发成"), "", done.failed
    yield str(OUTCOMES[Outcome.REJECTED]), "", done.of(Outcome.REJECTED)
    for errcode, people in done.refusals():
        yield str(OUTCOMES[Outcome.REJECTED]), refusal(errcode), people
    for outcome in (Outcome.UNKNOWN, Outcome.UNDERWAY, Outcome.WAITING, Outcome.HELLO, Outcome.SKIPPED):
        yield str(OUTCOMES[outcome]), "", done.of(outcome)
    for reason, people in done.reasons():
        yield str(OUTCOMES[Outcome.SKIPPED]), str(REASONS[reason]), people
    for outcome in (Outcome.HELD_OUT, Outcome.CANCELLED):
        yield str(OUTCOMES[outcome]), "", done.of(outcome)
    for batch in done.batches:
        name = _("第 %(no)s 批", no=batch.no)
        yield name, str(BATCH_STATES[batch.state]), batch.size
        if batch.told is not None:
            yield name, _("微信过滤"), batch.told.filtered
            yield name, _("微信发出"), batch.told.sent
            yield name, _("微信没发成"), batch.told.errors
        elif batch.state is BatchState.ACCEPTED:
            yield name, _("微信还没给数"), ""
    if after is not None:
        for what, people in after.counts.items():
            is_gone = what is Followed.ANSWERED and not after.has_answers
            yield str(FOLLOWED[what]), _("聊天记录只留 40 天") if is_gone else "", "" if is_gone else people
        yield _("点开链接"), _("次"), after.taps
        yield _("点开链接"), _("人（同一人换一天或换手机会再算）"), after.visitors
