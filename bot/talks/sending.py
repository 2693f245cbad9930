"""What a talk has to send goes out: at most once each, in the order in which it was written, whatever dies on the way.

`calling` is committed before the platform is asked, together with the message it takes out of a window of this
merchant's conversation (BC-10); where the platform's answer is missing nobody knows, and it is never sent again (F16).
Where no window is open an answer waits for the fan's next hello to this merchant.

Order of locks: the follower, the talk, its messages. The inbox holds the follower before it looks what waits, so
that no hello is missed between two looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from bot.talks import enquiries, media
from bot.talks.models import AnswerState, Kind, Why
from core import outbox
from core.database import Role, rows_changed
from core.jobs import Handler
from core.outbox import Task, TryLater
from core.runtime import Runtime
from wechat import outcome
from wechat.client import WeChatClient, client_of
from wechat.errors import Refused, WaitAMinute, WeChatError
from wechat.outcome import CALL_LASTS, Outcome
from wechat.replies import ImageReply, Reply, TextReply

SEND: Final = "send_answers"
AFTER_HELLO: Final = timedelta(seconds=2)
"""How long what the account answers by itself has to arrive first."""
IN_TURN: Final = timedelta(seconds=1)
SOON: Final = timedelta(seconds=5)
PICTURE_TRIES: Final = 5
"""How often a picture is brought to a platform that gives no answer, before what comes after it goes out."""
OWE_AT_ONCE: Final = 500
FORGOTTEN_AFTER: Final = timedelta(minutes=2)
MOST_IN_A_ROW: Final = 20
TRIES: Final = 5
_CLOSED: Final = frozenset({45015, 45047})
_LEFT: Final = frozenset({40003, 43004, 46004, 49003, 50005})


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
