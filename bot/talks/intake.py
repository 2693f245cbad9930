"""What a fan says comes into a merchant's inbox: rows of the same transaction that takes in the event (EV-3).

`bot.inbox` hands over what was said as `Said` and adds the rows that `rows` makes of it to its own; `WRITES` is how
they are written, one statement for a whole batch. A batch holds no two events of one person, and the person is locked,
so no two transactions write one talk's messages at once.

A late event puts its message at its own moment. Whoever closed the talk has not seen it: it opens the talk again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from bot.events import (
    Event,
    ImageMessage,
    LinkMessage,
    LocationMessage,
    Message,
    ShortVideoMessage,
    TextMessage,
    VideoMessage,
    VoiceMessage,
)
from bot.talks import desk as desks
from bot.talks.desk import Desk
from bot.talks.grams import grams
from bot.talks.models import Kind, TalkState
from core import outbox
from wechat.replies import ImageReply, NewsReply, Reply, TextReply

LINE: Final = "line"
"""`Said.auto_by` of the line that says whom one is talking to."""
LINE_EVERY: Final = timedelta(minutes=30)
PREVIEW_MAX: Final = 60
_LINK: Final = re.compile(r'<a href="[^"<>]*">([^<>]*)</a>')
SEEN_FOR: Final = timedelta(days=3)
"""Talks without a message for longer than this say nothing about what is said next, unless an answer waits in them."""
FETCH: Final = "fetch_talk_media"
FETCHED: Final = frozenset({Kind.IMAGE, Kind.VOICE})
"""Kinds of messages whose file is fetched for the merchant to see or hear."""


@dataclass(frozen=True, slots=True)
class Said:
    """A fan's message that belongs into a merchant's inbox, and what the account answered by itself."""

    merchant_id: int
    follower_id: int
    number: str
    """What this merchant calls the fan (`Inbox.fan_number`)."""
    inbox_id: int
    at: datetime
    kind: Kind
    text: str | None
    media: str | None = None
    """The platform's name of its file."""
    auto: Sequence[Reply] = ()
    auto_by: str = ""
    """The rule that answered, or `LINE`."""
    waits: bool = True
    """A person is expected to answer; False where a rule did."""


@dataclass(frozen=True, slots=True)
class TalkSeen:
    """A talk of somebody who has just written, as it was before."""

    talk_id: int
    merchant_id: int
    follower_id: int
    state: TalkState
    line_said_at: datetime | None
    human_said_at: datetime | None
    waiting_out: int
    """Answers that wait for the next hello: where there are any, owe `sending.hello_row`."""


SEEN: Final = """
    SELECT follower_id, merchant_id, id, state, line_said_at, human_said_at, waiting_out FROM talk
    WHERE follower_id = ANY(%(ids)s) AND (waiting_out > 0 OR last_message_at > %(since)s)"""
"""For the glimpse; `ids` are the followers', `since` is `SEEN_FOR` before the oldest event."""


def seen(rows: Iterable[tuple[Any, ...]]) -> dict[tuple[int, int], TalkSeen]:
    """What `SEEN` found, by follower and merchant."""
    return {
        (row[0], row[1]): TalkSeen(row[2], row[1], row[0], TalkState(row[3]), row[4], row[5], row[6]) for row in rows
    }


def content_of(event: Event) -> tuple[Kind, str | None, str | None] | None:  # noqa: PLR0911  one for each kind
    """A message's kind, what can be read of it, and the platform's name of its file; None for what is no message."""
    match event:
        case TextMessage(content=content):
            return Kind.TEXT, content, None
        case ImageMessage(media_id=media_id):
            return Kind.IMAGE, None, media_id
        case VoiceMessage(media_id=media_id):
            return Kind.VOICE, None, media_id
        case VideoMessage(media_id=media_id):
            return Kind.VIDEO, None, media_id
        case ShortVideoMessage(media_id=media_id):
            return Kind.SHORTVIDEO, None, media_id
        case LocationMessage():
            return Kind.LOCATION, f"{event.label}\n{event.latitude:.6f},{event.longitude:.6f}", None
        case LinkMessage():
            return Kind.LINK, f"{event.title}\n{event.description}\n{event.url}", None
        case Message():
            return Kind.OTHER, None, None
        case _:
            return None


def line_for(talk: TalkSeen | None, desk: Desk, merchant_name: str, at: datetime) -> str | None:
    """What the chat says to a message that was passed on to the merchant; None where it says nothing.

    Once within half an hour, and not within half an hour after a person of the merchant's has written: whoever is in
    the middle of a talk is not told so.
    """
    if talk is not None:
        for before in (talk.line_said_at, talk.human_said_at):
            if before is not None and at - before < LINE_EVERY:
                return None
    return desks.passed_on(desk, merchant_name, at)


# ---- Rows ------------------------------------------------------------------------------------------------------------


def rows(said: Said) -> dict[str, list[dict[str, Any]]]:
    """The rows of one message, by the name of their statement."""
    text = _printable(said.text)
    whose = {"merchant_id": said.merchant_id, "follower_id": said.follower_id, "at": said.at}
    is_line = bool(said.auto) and said.auto_by == LINE
    found: dict[str, list[dict[str, Any]]] = {
        "talks": [
            {**whose, "number": said.number, "preview": preview(text), "kind": said.kind, "waits": said.waits,
             "line_said_at": said.at if is_line else None}
        ],
        "talk_messages": [
            {**whose, "inbox_id": said.inbox_id, "direction": "in", "kind": said.kind, "content": text,
             "media_id": said.media, "by": "", "waits": said.waits, "grams": _grams(said.kind, text)},
            *(
                {**whose, "inbox_id": said.inbox_id, "direction": "auto", "kind": kind, "content": words,
                 "media_id": None, "by": said.auto_by, "waits": False,
                 "grams": [] if is_line else _grams(kind, words)}
                for kind, words in map(_of_reply, said.auto)
            ),
        ],
    }  # fmt: skip
    if said.waits:
        found["enquiries"] = [whose]
    return found


def rating(*, enquiry_id: int, satisfaction: int, at: datetime) -> dict[str, list[dict[str, Any]]]:
    """The rows of a fan's answer to how the answers were (`enquiries.rating_in`); the first one counts."""
    return {"ratings": [{"id": enquiry_id, "satisfaction": satisfaction, "at": at}]}


def owed(said: Said) -> list[dict[str, Any]]:
    """Outbox rows for what of a message lies with the platform."""
    if said.kind not in FETCHED or not said.media:
        return []
    return [
        outbox.row(
            kind=FETCH,
            dedupe_key=f"{FETCH}:{said.inbox_id}",
            payload={"inbox_id": said.inbox_id},
            merchant_id=said.merchant_id,
        )
    ]


def _of_reply(reply: Reply) -> tuple[Kind, str | None]:
    match reply:
        case TextReply(content=content):
            return Kind.TEXT, content
        case ImageReply():
            return Kind.IMAGE, None
        case NewsReply():
            return Kind.CARD, f"{reply.title}\n{reply.description}\n{reply.url}"
        case _:
            assert_never(reply)


def _printable(text: str | None) -> str | None:
    return None if text is None else text.replace("\x00", "")


def without_links(text: str) -> str:
    """Words as the phone shows them: a link of ours is its own words there."""
    return _LINK.sub(r"\1", text)


def preview(text: str | None) -> str | None:
    """The line that the list of talks shows of a message."""
    return None if text is None else " ".join(without_links(text).split())[:PREVIEW_MAX]


def _grams(kind: Kind, text: str | None) -> list[str]:
    return grams(text) if text and kind is not Kind.LOCATION else []


_ROWS: Final = """
    jsonb_to_recordset(%(rows)s) AS r(merchant_id bigint, follower_id bigint, at timestamptz, number text,
        preview text, kind text, waits boolean, line_said_at timestamptz, inbox_id bigint, direction text,
        content text, media_id text, by text, grams jsonb)"""

WRITES: Final[dict[str, str]] = {
    # One person may have written several messages before it was clear for whom they are. `waiting` and
    # `waiting_since` go together.
    "talks": f"""
        WITH r AS MATERIALIZED (SELECT * FROM {_ROWS})
        INSERT INTO talk (merchant_id, follower_id, number, state, last_message_at, preview, preview_kind,
            preview_direction, unread, waiting_since, line_said_at)
        SELECT merchant_id, follower_id, max(number), CASE WHEN bool_or(waits) THEN 'waiting' ELSE 'answered' END,
            max(at), (array_agg(preview ORDER BY at DESC))[1], (array_agg(kind ORDER BY at DESC))[1], 'in',
            count(*) FILTER (WHERE waits), min(at) FILTER (WHERE waits), max(line_said_at)
        FROM r GROUP BY merchant_id, follower_id ORDER BY merchant_id, follower_id
        ON CONFLICT (merchant_id, follower_id) DO UPDATE SET
            state = CASE WHEN excluded.state = 'waiting' THEN 'waiting' ELSE talk.state END,
            waiting_since = least(talk.waiting_since, excluded.waiting_since),
            last_message_at = greatest(talk.last_message_at, excluded.last_message_at),
            preview = CASE WHEN excluded.last_message_at >= talk.last_message_at THEN excluded.preview
                ELSE talk.preview END,
            preview_kind = CASE WHEN excluded.last_message_at >= talk.last_message_at THEN excluded.preview_kind
                ELSE talk.preview_kind END,
            preview_direction = CASE WHEN excluded.last_message_at >= talk.last_message_at
                THEN excluded.preview_direction ELSE talk.preview_direction END,
            unread = talk.unread + excluded.unread,
            line_said_at = greatest(talk.line_said_at, excluded.line_said_at)""",
    "talk_messages": f"""
        WITH r AS MATERIALIZED (SELECT row_number() OVER () AS no, r.* FROM {_ROWS}),
        said AS (
            INSERT INTO talk_message (merchant_id, talk_id, direction, kind, content, by, inbox_id, waits, at)
            SELECT r.merchant_id, t.id, r.direction, r.kind, r.content, r.by, r.inbox_id, r.waits, r.at
            FROM r JOIN talk t ON t.merchant_id = r.merchant_id AND t.follower_id = r.follower_id
            ORDER BY r.at, r.no
            RETURNING id, merchant_id, talk_id, inbox_id, direction, content),
        found_by AS (
            INSERT INTO talk_gram (merchant_id, gram, message_id, talk_id)
            SELECT s.merchant_id, g.gram, s.id, s.talk_id
            FROM said s JOIN r ON r.inbox_id = s.inbox_id AND r.direction = s.direction
                AND r.content IS NOT DISTINCT FROM s.content
            CROSS JOIN LATERAL jsonb_array_elements_text(r.grams) AS g(gram)
            ON CONFLICT DO NOTHING)
        INSERT INTO talk_media (message_id, merchant_id, media_id)
        SELECT s.id, s.merchant_id, r.media_id
        FROM said s JOIN r ON r.inbox_id = s.inbox_id AND r.direction = s.direction
        WHERE s.direction = 'in' AND r.media_id IS NOT NULL""",
    "enquiries": f"""
        INSERT INTO enquiry (merchant_id, talk_id, opened_at)
        SELECT r.merchant_id, t.id, min(r.at)
        FROM {_ROWS} JOIN talk t ON t.merchant_id = r.merchant_id AND t.follower_id = r.follower_id
        GROUP BY r.merchant_id, t.id ORDER BY t.id
        ON CONFLICT (talk_id) WHERE closed_at IS NULL DO UPDATE SET
            opened_at = least(enquiry.opened_at, excluded.opened_at)
            WHERE excluded.opened_at < enquiry.opened_at""",
    "ratings": """
        UPDATE enquiry e SET satisfaction = r.satisfaction, rated_at = r.at
        FROM jsonb_to_recordset(%(rows)s) AS r(id bigint, satisfaction smallint, at timestamptz)
        WHERE e.id = r.id AND e.asked_at IS NOT NULL AND e.satisfaction IS NULL""",
}
"""For `bot.changes`, after its own and in this order: a message needs its talk."""
