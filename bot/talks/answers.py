"""What a merchant's people write in a talk: answers, that are rows at once and go out by `sending`, and notes.

Where no window is open an answer waits for the fan's next hello to this merchant; whoever wrote it can take it back
until then. Order of locks: the follower, the talk, its messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from bot.talks import intake, media, sending
from bot.talks.grams import grams
from bot.talks.models import AnswerState, Kind, Why
from campaigns.coupons import giving
from campaigns.coupons.models import Channel
from core import audit, nonces
from core.database import rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from merchants import sensitive_words
from merchants.pictures import Prepared
from merchants.wording import clean, refuse_bad_wording
from wechat.limits import TEXT_MAX_BYTES

ROUTE: Final = "talk.answer"
LINK_BYTES: Final = 400
"""Room for the line with a coupon's link."""
NOTE_MAX: Final = 500
_PLAIN: Final = str.maketrans('<>"', "〈〉＂")
_NO_MARKUP: Final = str.maketrans("<>", "〈〉")


class GoneOut(BusinessError):
    code = "gone_out"
    message = "这条已经发出去了，收不回来。"


class FanLeft(BusinessError):
    code = "fan_left"
    message = "这位客人已经取消关注，发不出去了。"


class FanForgotten(BusinessError):
    code = "fan_forgotten"
    message = "这位客人的资料已经删除，不能再记了。"


@dataclass(frozen=True)
class TextAnswer:
    text: str


@dataclass(frozen=True)
class PictureAnswer:
    """A picture for this fan alone."""

    picture: Prepared


@dataclass(frozen=True)
class CouponAnswer:
    """A coupon of the merchant's own, given to the fan at once, with or without words before its link."""

    template_id: int
    text: str = ""


Answer = TextAnswer | PictureAnswer | CouponAnswer


@dataclass(frozen=True)
class Clock:
    """Until when, and how often, a fan can be answered in the chat."""

    open_until: datetime | None
    """None where no window is open; used up or not, where `left` is 0."""
    left: int
    waiting: int
    """Answers that wait for the fan's next hello."""

    @property
    def is_open(self) -> bool:
        """Whether an answer goes out now; else it waits for the next hello."""
        return self.left > 0


def clock(session: Session, *, merchant_id: int, follower_id: int, now: datetime) -> Clock:
    """What the windows of this merchant's conversation with a fan still allow."""
    row = session.execute(
        text("""
            SELECT coalesce(max(expires_at) FILTER (WHERE used < allowance), max(expires_at)) AS until,
                   coalesce(sum(allowance - used), 0) AS left,
                   coalesce((SELECT waiting_out FROM talk t
                             WHERE t.merchant_id = :merchant_id AND t.follower_id = :follower_id), 0) AS waiting
            FROM message_window
            WHERE follower_id = :follower_id AND merchant_id = :merchant_id AND expires_at > :now"""),
        {"merchant_id": merchant_id, "follower_id": follower_id, "now": now},
    ).one()
    return Clock(row.until, int(row.left), row.waiting)


def write(
    session: Session,
    *,
    merchant_id: int,
    staff_id: int,
    talk_id: int,
    answer: Answer,
    nonce: str,
    hosts: frozenset[str],
    public_url: str,
    now: datetime,
) -> int:
    """Answer a fan, as the merchant; returns the message's id. The same nonce again is the same answer (CO-6).

    It goes out at once where a window is open, and else at the fan's next hello. The talk counts as answered.
    """
    fan = _fan_of(session, merchant_id=merchant_id, talk_id=talk_id)
    body = {"talk": talk_id, **_body(answer)}

    def work() -> Mapping[str, Any]:
        _refuse_gone(fan)
        kind, content = _content(
            session, answer, fan=fan, cause=f"staff:{staff_id}:{nonce}", hosts=hosts, public_url=public_url, now=now
        )
        if isinstance(answer, CouponAnswer):
            audit.record(
                session, actor_kind="merchant", actor_id=staff_id, merchant_id=merchant_id, action="coupon.give",
                subject=f"coupon_template:{answer.template_id}", detail={"follower": fan.follower_id},
            )  # fmt: skip
        # A coupon holds its person's row: the talk comes after, as everywhere.
        lock(session, merchant_id=merchant_id, talk_id=talk_id)
        # An erasure that this one waited for has found nothing of it.
        _refuse_gone(_fan_of(session, merchant_id=merchant_id, talk_id=talk_id))
        message_id = add(
            session,
            {
                "merchant_id": merchant_id,
                "talk_id": talk_id,
                "direction": "out",
                "kind": kind,
                "content": content,
                "template_id": answer.template_id if isinstance(answer, CouponAnswer) else None,
                "staff_id": staff_id,
                "state": AnswerState.PLANNED,
                "at": now,
            },
        )
        if isinstance(answer, PictureAnswer):
            media.keep(session, merchant_id=merchant_id, message_id=message_id, picture=answer.picture)
        _settle(session, merchant_id=merchant_id, talk_id=talk_id, staff_id=staff_id, kind=kind, said=content, now=now)
        sending.owe(session, merchant_id=merchant_id, talk_id=talk_id, message_id=message_id)
        return {"message_id": message_id}

    actor = f"staff:{staff_id}"
    done = nonces.answer_once(session, work, actor=actor, route=ROUTE, nonce=nonce, body=body, merchant_id=merchant_id)
    return int(done.answer["message_id"])


def cancel(session: Session, *, merchant_id: int, talk_id: int, message_id: int) -> None:
    """Take back an answer that waits; `GoneOut` where it does not any more."""
    lock(session, merchant_id=merchant_id, talk_id=talk_id)
    mine = {"merchant_id": merchant_id, "talk_id": talk_id, "id": message_id, "why": Why.WITHDRAWN}
    taken_back = session.execute(
        text("""
            UPDATE talk_message SET state = 'skipped', why = :why
            WHERE merchant_id = :merchant_id AND talk_id = :talk_id AND id = :id
              AND state IN ('planned', 'waiting')"""),
        mine,
    )
    if rows_changed(taken_back):
        return
    is_there = session.execute(
        text("""
            SELECT 1 FROM talk_message
            WHERE merchant_id = :merchant_id AND talk_id = :talk_id AND id = :id AND direction = 'out'"""),
        mine,
    ).scalar()
    raise GoneOut if is_there else NotFound("没有这条消息。")


def _fan_of(session: Session, *, merchant_id: int, talk_id: int) -> Row[Any]:
    """Whose talk it is, with what speaks against writing in it; another merchant's is missing (TN-3)."""
    row = session.execute(
        text("""
            SELECT t.follower_id, w.status, w.erased_at IS NOT NULL AS is_erased
            FROM talk t LEFT JOIN follower w ON w.id = t.follower_id
            WHERE t.merchant_id = :merchant_id AND t.id = :id"""),
        {"merchant_id": merchant_id, "id": talk_id},
    ).one_or_none()
    if row is None:
        raise NotFound("没有这段聊天。")
    return row


def _refuse_gone(fan: Row[Any]) -> None:
    if fan.status == "gone" or fan.is_erased:
        raise FanLeft


def lock(session: Session, *, merchant_id: int, talk_id: int) -> None:
    """Hold a talk first: the next statement then sees what came while this one waited. Another merchant's is missing
    (TN-3)."""
    statement = text("SELECT 1 FROM talk WHERE merchant_id = :merchant_id AND id = :id FOR UPDATE")
    if session.execute(statement, {"merchant_id": merchant_id, "id": talk_id}).scalar() is None:
        raise NotFound("没有这段聊天。")


def _body(answer: Answer) -> dict[str, Any]:
    match answer:
        case TextAnswer():
            return {"text": answer.text}
        case PictureAnswer():
            return {"picture": answer.picture.sha256.hex()}
        case CouponAnswer():
            return {"coupon": answer.template_id, "text": answer.text}
        case _:
            assert_never(answer)


def _content(
    session: Session, answer: Answer, *, fan: Row[Any], cause: str, hosts: frozenset[str], public_url: str,
    now: datetime,
) -> tuple[Kind, str | None]:  # fmt: skip
    match answer:
        case TextAnswer():
            return Kind.TEXT, checked(session, answer.text, hosts=hosts)
        case PictureAnswer():
            return Kind.IMAGE, None
        case CouponAnswer():
            words = checked(session, answer.text, hosts=hosts, is_required=False, room=LINK_BYTES)
            given = giving.grant(
                session,
                template_id=answer.template_id,
                follower_id=fan.follower_id,
                cause=cause,
                channel=Channel.STAFF,
                now=now,
            )
            name = session.execute(
                text("SELECT name FROM coupon_template WHERE id = :id"), {"id": answer.template_id}
            ).scalar_one()
            link = (
                f'<a href="{public_url}/m/coupons/{given.public_id}">送您一张“{name.translate(_PLAIN)}”，点这里打开</a>'
            )
            return Kind.COUPON, f"{words}\n{link}" if words else link
        case _:
            assert_never(answer)


def checked(session: Session, words: str, *, hosts: frozenset[str], is_required: bool = True, room: int = 0) -> str:
    """Words as they are sent: without what gets the whole account banned, and no longer than the platform takes."""
    # How long it may be is counted in bytes, and said once.
    longest = max(1, len(words))
    said = clean(words, name=Phrase("回复"), field="text", longest=longest, is_required=is_required, lines=True)
    # Nobody reads an answer before it goes out: it is never markup.
    said = said.translate(_NO_MARKUP)
    if len(said.encode()) > TEXT_MAX_BYTES - room:
        sentence = Phrase("回复太长：最多约 %(characters)s 个汉字。")
        raise Invalid(sentence, field="text", characters=(TEXT_MAX_BYTES - room) // 3)
    refuse_bad_wording(said, field="text", hosts=hosts, listed=sensitive_words.listed(session))
    return said


def add(session: Session, message: dict[str, Any]) -> int:
    """Write a message of the merchant's own, so that it is found again."""
    message_id = int(
        session.execute(
            text("""
                INSERT INTO talk_message (merchant_id, talk_id, direction, kind, content, template_id, staff_id, state,
                    at)
                VALUES (:merchant_id, :talk_id, :direction, :kind, :content, :template_id, :staff_id, :state, :at)
                RETURNING id"""),
            message,
        ).scalar_one()
    )
    if found := grams(message["content"] or ""):
        session.execute(
            text("""
                INSERT INTO talk_gram (merchant_id, gram, message_id, talk_id)
                SELECT :merchant_id, gram, :message_id, :talk_id FROM unnest(CAST(:grams AS text[])) AS gram"""),
            {**message, "message_id": message_id, "grams": found},
        )
    return message_id


def note(session: Session, *, merchant_id: int, staff_id: int, talk_id: int, words: str, now: datetime) -> int:
    """Write something that only the merchant's people see; nothing else of the talk changes. Returns its id.

    Of somebody who asked to be forgotten nothing is noted any more.
    """
    lock(session, merchant_id=merchant_id, talk_id=talk_id)
    if _fan_of(session, merchant_id=merchant_id, talk_id=talk_id).is_erased:
        raise FanForgotten
    said = clean(words, name=Phrase("备注"), field="text", longest=NOTE_MAX, is_required=True, lines=True)
    message_id = add(
        session,
        {"merchant_id": merchant_id, "talk_id": talk_id, "direction": "note", "kind": Kind.TEXT, "content": said,
         "template_id": None, "staff_id": staff_id, "state": None, "at": now},
    )  # fmt: skip
    session.execute(
        text("UPDATE talk SET version = version WHERE merchant_id = :merchant_id AND id = :id"),
        {"merchant_id": merchant_id, "id": talk_id},
    )
    return message_id


def _settle(
    session: Session, *, merchant_id: int, talk_id: int, staff_id: int, kind: Kind, said: str | None, now: datetime
) -> None:
    """Everything said so far is answered, and seen; the first answer of the enquiry is this one, if there was none."""
    mine = {"merchant_id": merchant_id, "id": talk_id, "staff_id": staff_id, "now": now,
            "kind": kind, "preview": intake.preview(said)}  # fmt: skip
    session.execute(
        text("""
            UPDATE talk t SET state = 'answered', waiting_since = NULL, unread = 0, read_to = said.newest,
                settled_to = said.newest, human_said_at = greatest(t.human_said_at, :now),
                last_message_at = greatest(t.last_message_at, :now), preview = :preview, preview_kind = :kind,
                preview_direction = 'out'
            FROM (SELECT max(m.id) AS newest FROM talk_message m
                  WHERE m.merchant_id = :merchant_id AND m.talk_id = :id) said
            WHERE t.merchant_id = :merchant_id AND t.id = :id"""),
        mine,
    )
    session.execute(
        text("""
            UPDATE enquiry SET first_answer_at = greatest(opened_at, :now), first_answer_by = :staff_id
            WHERE merchant_id = :merchant_id AND talk_id = :id AND closed_at IS NULL AND first_answer_at IS NULL"""),
        mine,
    )
