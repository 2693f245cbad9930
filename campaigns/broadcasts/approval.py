"""The operator agrees to a broadcast: words, reach and cost together, as they were shown, kept as evidence."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from campaigns.broadcasts import content, links, writing
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.links import NewCode
from campaigns.broadcasts.models import Broadcast, BroadcastState, BroadcastWords
from campaigns.broadcasts.reach import Forecast
from core.errors import BusinessError, Invalid, NotFound, Phrase
from merchants import notices
from merchants.models import NoticeKind
from merchants.notices import News
from merchants.reviews import REASON_MAX
from merchants.wording import Finding, Severity, clean
from wechat.limits import TEXT_MAX_BYTES


class AlreadyDecided(BusinessError):
    """Another operator was faster, or its author took it back."""

    code = "already_decided"
    message = "这条群发刚刚被别人处理过，或者商户已经撤回，请刷新页面。"


class ChangedMeanwhile(BusinessError):
    code = "changed_meanwhile"
    message = "商户刚才改过这条群发，请重新看一遍再决定。"


@dataclass(frozen=True)
class Review:
    """What is before the operator."""

    broadcast: Broadcast
    words: dict[str, Words]
    findings: list[Finding]
    forecast: Forecast
    seen: str
    """Tells whether it is still the same when the operator decides."""


def count_waiting(session: Session) -> int:
    statement = select(func.count()).select_from(Broadcast).where(Broadcast.state == BroadcastState.SUBMITTED)
    return session.execute(statement).scalar_one()


def waiting(session: Session, *, after: int = 0, limit: int = 50) -> list[Broadcast]:
    """What merchants have handed in, by id."""
    statement = select(Broadcast).where(Broadcast.state == BroadcastState.SUBMITTED, Broadcast.id > after)
    return list(session.scalars(statement.order_by(Broadcast.id).limit(limit)))


def decided(session: Session, *, before: int | None = None, limit: int = 20) -> list[Broadcast]:
    """What was decided about merchants' broadcasts, the newest first."""
    statement = select(Broadcast).where(Broadcast.decided_at.is_not(None), Broadcast.merchant_id.is_not(None))
    if before is not None:
        statement = statement.where(Broadcast.id < before)
    return list(session.scalars(statement.order_by(Broadcast.id.desc()).limit(limit)))


def review(session: Session, *, broadcast_id: int, public_url: str, now: datetime) -> Review:
    """A broadcast as the operator decides about it; what is no merchant's is not for this."""
    return _review(session, _merchants_own(session, broadcast_id), public_url, now)


def _merchants_own(session: Session, broadcast_id: int, *, lock: bool = False) -> Broadcast:
    statement = select(Broadcast).where(Broadcast.id == broadcast_id, Broadcast.merchant_id.is_not(None))
    found = session.scalar(statement.with_for_update().execution_options(populate_existing=True) if lock else statement)
    if found is None:
        raise NotFound("没有这条群发。")
    return found


def _review(session: Session, broadcast: Broadcast, public_url: str, now: datetime) -> Review:
    assert broadcast.merchant_id is not None  # noqa: S101
    words = content.load(session, broadcast.id, public_url=public_url)
    submitted_at = broadcast.submitted_at.isoformat() if broadcast.submitted_at else ""
    return Review(
        broadcast,
        words,
        writing.doubts(session, merchant_id=broadcast.merchant_id, broadcast_id=broadcast.id, public_url=public_url),
        writing.forecast(session, broadcast, now=now),
        seen=f"{submitted_at} {content.hash_of(words).hex()[:16]}",
    )


def approve(
    session: Session,
    *,
    broadcast_id: int,
    operator_id: int,
    operator_name: str,
    seen: str,
    public_url: str,
    new_code: NewCode,
    now: datetime,
) -> None:
    """Agree to what was `seen`: its links become ours, and its words are the ones that are sent, whatever comes.

    Raises `AlreadyDecided` for who comes second, `ChangedMeanwhile`, and what a submission is refused for where it
    does not hold any more: wording, audience, time.
    """
    broadcast = _merchants_own(session, broadcast_id, lock=True)
    if broadcast.state != BroadcastState.SUBMITTED:
        raise AlreadyDecided
    shown = _review(session, broadcast, public_url, now)
    if shown.seen != seen:
        raise ChangedMeanwhile
    if any(one.severity is Severity.REFUSED for one in shown.findings):
        raise writing.BadWording(findings=shown.findings)
    writing.check_reach(shown.forecast, broadcast)
    assert broadcast.merchant_id is not None  # noqa: S101
    writing.check_cards(session, broadcast.merchant_id, shown.words)
    words = _agreed(session, broadcast, shown.words, public_url=public_url, new_code=new_code)
    evidence = {
        "words": content.frozen(words),
        "as_written": content.frozen(content.written(session, broadcast_id)),
        "hash": content.hash_of(words).hex(),
        "forecast": forecast_as_kept(shown.forecast),
        "findings": [asdict(one) for one in shown.findings],
        "audience": broadcast.wanted,
        "hello_days": broadcast.hello_days,
        "held_out_percent": broadcast.held_out_percent,
        "scheduled_at": broadcast.scheduled_at.isoformat() if broadcast.scheduled_at else None,
        "decided_by": {"id": operator_id, "name": operator_name},
        "decided_at": now.isoformat(),
    }
    # What the platform was given for words of an earlier approval is not for these.
    session.execute(update(BroadcastWords).where(BroadcastWords.broadcast_id == broadcast_id).values(media_id=None))
    _decide(
        session, broadcast, BroadcastState.APPROVED, operator_id, now,
        evidence=evidence, content_hash=content.hash_of(words), decision_reason="",
    )  # fmt: skip
    _tell(session, broadcast, NoticeKind.APPROVED, now)


def _agreed(
    session: Session, broadcast: Broadcast, words: Mapping[str, Words], *, public_url: str, new_code: NewCode
) -> dict[str, Words]:
    assert broadcast.merchant_id is not None  # noqa: S101
    agreed = {
        variant: links.shorten(
            session, one, merchant_id=broadcast.merchant_id, broadcast_id=broadcast.id, variant=variant,
            public_url=public_url, new_code=new_code,
        )
        for variant, one in words.items()
    }  # fmt: skip
    for one in agreed.values():
        if one.kind == "text" and len(one.text.encode()) > TEXT_MAX_BYTES:
            raise Invalid("换上短链接以后文字太长了，请让商户缩短。")
    return {variant: replace(one, picture=None, picurl=None, media_id=None) for variant, one in agreed.items()}


def forecast_as_kept(shown: Forecast) -> dict[str, Any]:
    """Reach and cost as they were shown."""
    return {
        "audience": shown.audience,
        "reached": shown.reached,
        "routes": {str(route): count for route, count in shown.routes.items()},
        "missed": {str(reason): count for reason, count in shown.missed.items()},
        "calls": shown.calls,
        "share_left": shown.share_left,
    }


def send_back(
    session: Session, *, broadcast_id: int, operator_id: int, reason: str, was: BroadcastState, now: datetime
) -> None:
    """Ask for changes, also of one that was approved and has not started; `was` is what the operator saw."""
    cleaned = clean(reason, name=Phrase("原因"), field="reason", longest=REASON_MAX, is_required=True, lines=True)
    broadcast = _merchants_own(session, broadcast_id, lock=True)
    if broadcast.state != was or was not in (BroadcastState.SUBMITTED, BroadcastState.APPROVED):
        raise AlreadyDecided
    _decide(session, broadcast, BroadcastState.RETURNED, operator_id, now, decision_reason=cleaned)
    _tell(session, broadcast, NoticeKind.REFUSED, now, reason=cleaned)


def _decide(
    session: Session, broadcast: Broadcast, state: BroadcastState, operator_id: int, now: datetime, **values: Any
) -> None:
    mine = update(Broadcast).where(Broadcast.id == broadcast.id)
    session.execute(mine.values(state=state, decided_by=operator_id, decided_at=now, **values))
    session.refresh(broadcast)


def _tell(session: Session, broadcast: Broadcast, kind: NoticeKind, now: datetime, *, reason: str = "") -> None:
    assert broadcast.merchant_id is not None  # noqa: S101
    cause = f"{notices.BROADCAST}{broadcast.id}:{kind}:{now.isoformat()}"
    news = News(kind, cause=cause, path=f"/merchant/broadcasts/{broadcast.id}", subject=broadcast.name, reason=reason)
    notices.tell(session, merchant_id=broadcast.merchant_id, news=news, now=now)
