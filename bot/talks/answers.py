"""What a merchant's people answer: at most once each, in the order in which they wrote it, whatever dies on the way.

An answer is a row at once and goes out by a task. `calling` is committed before the platform is asked, together with
the message it takes out of a window of this merchant's conversation (BC-10); where the platform's answer is missing
nobody knows, and it is never sent again (F16). Where no window is open the answer waits for the fan's next hello to
this merchant; whoever wrote it can take it back until then.

Order of locks: the follower, the talk, its messages. The inbox holds the follower before it looks what waits, so
that no hello is missed between two looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from bot.talks import enquiries, intake, media
from bot.talks.grams import grams
from bot.talks.models import AnswerState, Kind, Why
from campaigns.coupons import giving
from campaigns.coupons.models import Channel
from core import audit, nonces, outbox
from core.database import Role, rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from core.jobs import Handler
from core.outbox import Task, TryLater
from core.runtime import Runtime
from merchants import sensitive_words
from merchants.pictures import Prepared
from merchants.wording import clean, refuse_bad_wording
from wechat import outcome
from wechat.client import WeChatClient, client_of
from wechat.errors import Refused, WaitAMinute, WeChatError
from wechat.limits import TEXT_MAX_BYTES
from wechat.outcome import Outcome
from wechat.replies import ImageReply, Reply, TextReply

SEND: Final = "send_answers"
ROUTE: Final = "talk.answer"
AFTER_HELLO: Final = timedelta(seconds=2)
"""How long what the account answers by itself has to arrive first."""
IN_TURN: Final = timedelta(seconds=1)
SOON: Final = timedelta(seconds=5)
CALL_LASTS: Final = timedelta(seconds=60)
"""No call takes longer, a replaced token and its repetition included."""
PICTURE_TRIES: Final = 5
"""How often a picture is brought to a platform that gives no answer, before what comes after it goes out."""
LINK_BYTES: Final = 400
"""Room for the line with a coupon's link."""
OWE_AT_ONCE: Final = 500
FORGOTTEN_AFTER: Final = timedelta(minutes=2)
MOST_IN_A_ROW: Final = 20
TRIES: Final = 5
NOTE_MAX: Final = 500
_CLOSED: Final = frozenset({45015, 45047})
_LEFT: Final = frozenset({40003, 43004, 46004, 49003, 50005})
_PLAIN: Final = str.maketrans('<>"', "〈〉＂")
_NO_MARKUP: Final = str.maketrans("<>", "〈〉")


class GoneOut(BusinessError):
    code = "gone_out"
    message = "这条已经发出去了，收不回来。"


class FanLeft(BusinessError):
    code = "fan_left"
    message = "这位客人已经取消关注，发不出去了。"


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


# ---- Writing ---------------------------------------------------------------------------------------------------------


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
        owe(session, merchant_id=merchant_id, talk_id=talk_id, message_id=message_id)
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
    """Write something that only the merchant's people see; nothing else of the talk changes. Returns its id."""
    lock(session, merchant_id=merchant_id, talk_id=talk_id)
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


# ---- Sending ---------------------------------------------------------------------------------------------------------


def owe(session: Session, *, merchant_id: int, talk_id: int, message_id: int) -> None:
    """Owe what a talk has to send, for a message just written."""
    outbox.add(
        session,
        kind=SEND,
        dedupe_key=f"{SEND}:{message_id}",
        payload={"talk_id": talk_id},
        queue=outbox.MESSAGES,
        merchant_id=merchant_id,
    )


def hello_row(*, talk_id: int, inbox_id: int) -> dict[str, Any]:
    """The outbox row for what waits in a talk whose fan has just turned to the merchant; to be delayed by
    `AFTER_HELLO`."""
    return outbox.row(
        kind=SEND,
        queue=outbox.MESSAGES,
        dedupe_key=f"{SEND}:hello:{inbox_id}:{talk_id}",
        payload={"talk_id": talk_id},
    )


@dataclass(frozen=True, slots=True)
class _Call:
    message_id: int
    talk_id: int
    follower_id: int
    window_id: int
    openid: str
    reply: Reply
    was: AnswerState
    enquiry_id: int | None = None
    """Whose satisfaction it asks for."""


@dataclass(frozen=True, slots=True)
class _Picture:
    """What the platform needs before its message can be sent."""

    message_id: int
    talk_id: int
    content: bytes


def send_answers(runtime: Runtime, task: Task) -> None:
    """Send what a talk has to send, one message after the other, until nothing is left or no window is open.

    A picture is brought to the platform as its turn comes, before its message is committed to: by then the platform
    has it for three days, and whoever dies in between has said nothing yet.
    """
    talk_id = int(task.payload["talk_id"])
    brought: dict[int, str] = {}
    for _ in range(MOST_IN_A_ROW):
        with runtime.transaction(Role.PLATFORM) as session:
            step = _begin(session, talk_id, brought, now=runtime.now())
        match step:
            case None:
                return
            case _Picture():
                _bring(runtime, client_of(runtime), step, brought, task)
            case _Call():
                _make(runtime, client_of(runtime), step)
    raise TryLater(IN_TURN)


def _bring(runtime: Runtime, client: WeChatClient, picture: _Picture, brought: dict[int, str], task: Task) -> None:
    """Bring a picture to the platform, which shows it to nobody yet: that may be done twice. One that the platform
    refuses, or gives no answer about, is never sent."""
    try:
        brought[picture.message_id] = client.add_temporary_image(picture.content, f"{picture.message_id}.jpg")
    except WaitAMinute:
        raise TryLater(SOON) from None
    except WeChatError as failure:
        if not isinstance(failure, Refused) and task.failures < PICTURE_TRIES:
            raise
        with runtime.transaction(Role.PLATFORM) as session:
            _hold(session, picture.talk_id)
            # It may have been taken back meanwhile.
            session.execute(
                text("""
                    UPDATE talk_message SET state = 'refused', why = :why, errcode = :errcode
                    WHERE id = :id AND state IN ('planned', 'waiting')"""),
                {"id": picture.message_id, "why": Why.NOT_READY, "errcode": failure.errcode},
            )


def _make(runtime: Runtime, client: WeChatClient, call: _Call) -> None:
    """Make one call that is committed to, and write down what came of it."""
    try:
        became, errcode = outcome.of(lambda: _send(client, call.openid, call.reply))
    except WaitAMinute:
        with runtime.transaction(Role.PLATFORM) as session:
            _take_back(session, call)
        raise TryLater(SOON) from None
    with runtime.transaction(Role.PLATFORM) as session:
        _record(session, call, became, errcode)


def _send(client: WeChatClient, openid: str, reply: Reply) -> None:
    client.send_reply(openid, reply)


def _begin(session: Session, talk_id: int, brought: Mapping[int, str], *, now: datetime) -> _Call | _Picture | None:
    """Commit to one call: from here on it counts as made. None where nothing is to be said now; a picture that is not
    among those brought comes first, and commits to nothing."""
    whose = session.execute(
        text("""
            SELECT t.follower_id, t.merchant_id FROM talk t
            JOIN merchant m ON m.id = t.merchant_id AND m.state = 'active' WHERE t.id = :id"""),
        {"id": talk_id},
    ).one_or_none()
    if whose is None:
        # Who is suspended says nothing in the account's name.
        return None
    fan = session.execute(
        text("SELECT id, openid, status, erased_at FROM follower WHERE id = :id FOR UPDATE"), {"id": whose.follower_id}
    ).one()
    _hold(session, talk_id)
    if fan.openid is None or fan.erased_at is not None or fan.status == "gone":
        refuse_open(session, talk_id=talk_id)
        return None
    while (message := session.execute(_FIRST, {"id": talk_id}).one_or_none()) is not None:
        if message.state == AnswerState.CALLING:
            raise TryLater(IN_TURN)
        if message.content is None and not message.has_picture:
            _end(session, message.id, AnswerState.SKIPPED, Why.TOO_LATE)
            continue
        window_id = _spend(session, whose.follower_id, whose.merchant_id) if fan.status == "following" else None
        if window_id is None:
            if message.kind == Kind.RATING:
                _end(session, message.id, AnswerState.SKIPPED, Why.NO_ROOM)
                continue
            session.execute(
                text("""
                    UPDATE talk_message SET state = CASE kind WHEN 'rating' THEN 'skipped' ELSE 'waiting' END,
                        why = CASE kind WHEN 'rating' THEN :no_room ELSE why END
                    WHERE talk_id = :id AND state = 'planned'"""),
                {"id": talk_id, "no_room": Why.NO_ROOM},
            )
            return None
        if message.has_picture and message.id not in brought:
            _give_back(session, window_id)
            return _Picture(message.id, talk_id, media.picture(session, message.id))
        enquiry_id = None
        if message.kind == Kind.RATING:
            enquiry_id = enquiries.ask(session, talk_id=talk_id, follower_id=whose.follower_id, now=now)
            if enquiry_id is None:
                _give_back(session, window_id)
                _end(session, message.id, AnswerState.SKIPPED, Why.NO_ROOM)
                continue
        session.execute(
            text("""
                UPDATE talk_message SET state = 'calling', window_id = :window_id, calling_at = clock_timestamp()
                WHERE id = :id"""),
            {"id": message.id, "window_id": window_id},
        )
        was = AnswerState(message.state)
        reply = ImageReply(brought[message.id]) if message.has_picture else TextReply(message.content)
        return _Call(message.id, talk_id, whose.follower_id, window_id, fan.openid, reply, was, enquiry_id)
    return None


_FIRST: Final = text("""
    SELECT m.id, m.kind, m.content, m.state, d.content IS NOT NULL AS has_picture
    FROM talk_message m LEFT JOIN talk_media d ON d.merchant_id = m.merchant_id AND d.message_id = m.id
    WHERE m.talk_id = :id AND m.state IN ('planned', 'waiting', 'calling')
    ORDER BY m.id LIMIT 1""")


def _end(session: Session, message_id: int, state: AnswerState, why: Why) -> None:
    session.execute(
        text("UPDATE talk_message SET state = :state, why = :why WHERE id = :id"),
        {"id": message_id, "state": state, "why": why},
    )


def refuse_open(session: Session, *, talk_id: int) -> None:
    """Nothing that has not gone out will: the fan is gone. The caller holds the talk."""
    session.execute(
        text("""
            UPDATE talk_message SET state = 'refused', why = 'left'
            WHERE talk_id = :id AND state IN ('planned', 'waiting')"""),
        {"id": talk_id},
    )


def _spend(session: Session, follower_id: int, merchant_id: int) -> int | None:
    """Take one message out of the window of this merchant's conversation that closes first; the last ones, too, since
    an answer is what they are for. None where none is open (BC-10)."""
    whose = {"follower_id": follower_id, "merchant_id": merchant_id}
    for _ in range(TRIES):
        taken: int | None = session.execute(
            text(f"""
                UPDATE message_window SET used = used + 1
                WHERE used < allowance AND inbox_id = (
                    SELECT inbox_id FROM message_window WHERE {_OPEN}
                    ORDER BY expires_at, inbox_id LIMIT 1 FOR UPDATE)
                RETURNING inbox_id"""),
            whose,
        ).scalar()
        # A notice to the same person may have taken the last one of that window meanwhile; another may be open.
        if (
            taken is not None
            or not session.execute(text(f"SELECT 1 FROM message_window WHERE {_OPEN} LIMIT 1"), whose).scalar()
        ):
            return taken
    return None


_OPEN: Final = """
    follower_id = :follower_id AND merchant_id = :merchant_id AND expires_at > app_now() AND used < allowance"""


def _give_back(session: Session, window_id: int) -> None:
    session.execute(text("UPDATE message_window SET used = used - 1 WHERE inbox_id = :id"), {"id": window_id})


def _take_back(session: Session, call: _Call) -> None:
    """The platform was too busy to take it: it waits as before, and its place in the window is free."""
    _take_back_question(session, call)
    _hold(session, call.talk_id)
    planned = session.execute(
        text("""
            UPDATE talk_message SET state = :was, window_id = NULL, calling_at = NULL
            WHERE id = :id AND state = 'calling'"""),
        {"id": call.message_id, "was": call.was},
    )
    if rows_changed(planned):
        _give_back(session, call.window_id)


def _take_back_question(session: Session, call: _Call) -> None:
    """What was not asked is not waited for; in the order of locks, since the fan may be writing."""
    if call.enquiry_id is not None:
        session.execute(text("SELECT 1 FROM follower WHERE id = :id FOR UPDATE"), {"id": call.follower_id})
        enquiries.take_back_question(session, call.enquiry_id)


def _hold(session: Session, talk_id: int) -> None:
    """A talk is held before its messages, by whoever changes one."""
    session.execute(text("SELECT 1 FROM talk WHERE id = :id FOR UPDATE"), {"id": talk_id})


def _record(session: Session, call: _Call, became: Outcome, errcode: int | None) -> None:
    """Write down what came of a call. The sweep may have given it up meanwhile; what we saw ourselves is better.

    What the platform calls closed was not what our ledger said: nothing more goes into that window, and the answer
    waits for the next hello, once.
    """
    mine = {"id": call.message_id, "errcode": errcode}
    if became is not Outcome.REFUSED:
        _hold(session, call.talk_id)
        session.execute(
            text("""
                UPDATE talk_message SET state = :state, errcode = :errcode
                WHERE id = :id AND state IN ('calling', 'unknown')"""),
            {**mine, "state": AnswerState(became)},
        )
        return
    _take_back_question(session, call)
    _hold(session, call.talk_id)
    if errcode in _CLOSED:
        session.execute(text("UPDATE message_window SET used = allowance WHERE inbox_id = :id"), {"id": call.window_id})
        waits = session.execute(
            text("""
                UPDATE talk_message SET state = 'waiting', turned_away = turned_away + 1, window_id = NULL,
                    calling_at = NULL, errcode = :errcode
                WHERE id = :id AND state = 'calling' AND turned_away = 0 AND kind <> 'rating'"""),
            mine,
        )
        if rows_changed(waits):
            return
    why = Why.CLOSED if errcode in _CLOSED else Why.LEFT if errcode in _LEFT else Why.PLATFORM
    session.execute(
        text("""
            UPDATE talk_message SET state = 'refused', why = :why, errcode = :errcode
            WHERE id = :id AND state IN ('calling', 'unknown')"""),
        {**mine, "why": why},
    )


# ---- By itself -------------------------------------------------------------------------------------------------------


def give_up_lost_calls(session: Session, now: datetime) -> None:  # noqa: ARG001  calls last as long as they last
    """Admit that nobody will tell any more what became of calls whose worker died; of a talk in use, next time."""
    session.execute(
        text("""
            WITH held AS MATERIALIZED (
                SELECT t.id FROM talk t
                WHERE t.id IN (SELECT m.talk_id FROM talk_message m
                               WHERE m.state = 'calling' AND m.calling_at < clock_timestamp() - :lasts)
                ORDER BY t.id FOR UPDATE SKIP LOCKED)
            UPDATE talk_message SET state = 'unknown'
            WHERE talk_id IN (SELECT id FROM held) AND state = 'calling'
              AND calling_at < clock_timestamp() - :lasts"""),
        {"lasts": CALL_LASTS},
    )


def owe_forgotten(session: Session, now: datetime) -> None:
    """Owe again what has not gone out though a window is open for it: whoever was to send it is lost."""
    stuck = session.execute(
        text("""
            SELECT DISTINCT ON (m.talk_id) m.talk_id, m.merchant_id, m.id
            FROM talk_message m JOIN talk t ON t.merchant_id = m.merchant_id AND t.id = m.talk_id
            JOIN merchant shop ON shop.id = m.merchant_id AND shop.state = 'active'
            WHERE m.state IN ('planned', 'waiting') AND m.created_at < :since
              AND EXISTS (SELECT 1 FROM message_window w WHERE w.follower_id = t.follower_id
                          AND w.merchant_id = m.merchant_id AND w.expires_at > :now AND w.opened_at < :since
                          AND w.used < w.allowance)
            ORDER BY m.talk_id, m.id LIMIT :most"""),
        {"now": now, "since": now - FORGOTTEN_AFTER, "most": OWE_AT_ONCE},
    ).all()
    outbox.add_many(
        session,
        [
            outbox.row(
                kind=SEND,
                queue=outbox.MESSAGES,
                dedupe_key=f"{SEND}:{row.id}:again:{now:%Y-%m-%dT%H:%M}",
                payload={"talk_id": row.talk_id},
                merchant_id=row.merchant_id,
            )
            for row in stuck
        ],
    )


HANDLERS: Final[Mapping[str, Handler]] = {SEND: send_answers}
