"""What the inbox reads: set-based, one statement for a whole batch of events, so that a batch of sixteen costs little
more than one event alone. What it writes is in `bot/changes.py`.

Rows travel as one JSON document per statement and come out of `jsonb_to_recordset`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeVar

import orjson
import psycopg
from sqlalchemy.orm import Session

from bot.context import Asks, Context, Question
from bot.talks import intake
from bot.talks.intake import TalkSeen
from campaigns.broadcasts.mute import Shop
from core.clock import month_of
from merchants.following import Episode, Fact, FactKind
from merchants.identities import MAY_SIGN_IN
from merchants.models import EpisodeSource, FollowStatus, LinkPurpose, LinkState
from qrcodes.attribution import Credit, Owner
from qrcodes.models import AttributionKind

CONTEXT_LASTS = timedelta(hours=48)
"""How long after a scan a conversation still counts as one with that merchant: as long as a message window."""


def as_json(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows)).decode()


@dataclass(slots=True)
class StoredFollower:
    """A follower's row, locked until the transaction ends."""

    id: int
    person_key: bytes
    openid: str | None
    status: FollowStatus
    as_of: datetime | None
    erased_at: datetime | None
    is_added: bool = False
    """Met with this batch; whoever came by the owners' pages was here before any event told of them."""


@dataclass(frozen=True, slots=True)
class StoredEpisode:
    """An episode with the attribution in force."""

    id: int
    episode: Episode
    attribution_id: int
    credit: Credit


@dataclass(frozen=True, slots=True)
class CodeSeen:
    """A code at the moment of a scan, with what a welcome needs to know."""

    owner: Owner
    public_id: str
    ticket: str | None
    label: str
    place: str
    merchant_name: str
    community_name: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Post:
    """A follower's work for a merchant (None: for the platform), for as long as the WeChat identity was bound to it."""

    merchant_id: int | None
    since: datetime
    until: datetime | None
    may_sign_in: bool

    def holds(self, merchant_id: int, at: datetime) -> bool:
        """Whether it was that merchant's at that moment."""
        return self.merchant_id == merchant_id and self.since <= at and (self.until is None or at < self.until)


@dataclass(slots=True)
class StoredTrial:
    """A code that waits for its test scan, locked; a batch that has used it says so here."""

    id: int
    armed_at: datetime
    expires_at: datetime
    is_used: bool = False


@dataclass(slots=True)
class StoredLink:
    """A staff code, locked; what a batch does with it shows here at once, so that the batch's next event sees it."""

    id: int
    scene: str
    purpose: LinkPurpose
    number: str
    device: str
    state: LinkState
    follower_id: int | None
    scanned_at: datetime | None
    expires_at: datetime
    staff_name: str | None
    merchant_name: str | None


Driver = psycopg.Connection[tuple[Any, ...]]


def driver(session: Session) -> Driver:
    """The session's own connection, in its transaction, without the layers that cost more than the statements."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)  # noqa: S101
    return connection


# Whoever is known is locked first, in one order, and newcomers are added after, in one order: a batch that waits for
# another's newcomer holds nothing that the other still wants.
_LOCK = """
    WITH known AS MATERIALIZED (
        SELECT id, person_key, openid, status, state_as_of, erased_at FROM follower
        WHERE account_id = %(account)s AND person_key = ANY(%(keys)s::bytea[])
        ORDER BY id FOR UPDATE
    ), added AS (
        INSERT INTO follower (account_id, openid, person_key, first_seen_at, last_seen_at)
        SELECT %(account)s, r.openid, decode(r.person_key, 'hex'), r.seen, r.seen
        FROM jsonb_to_recordset(%(people)s) AS r(openid text, person_key text, seen timestamptz)
        WHERE decode(r.person_key, 'hex') NOT IN (SELECT person_key FROM known)
        ORDER BY r.person_key
        ON CONFLICT DO NOTHING
        RETURNING id, person_key, openid, status, state_as_of, erased_at
    )
    SELECT *, false FROM known UNION ALL SELECT *, true FROM added"""

_KEY_ANEW = """
    UPDATE follower SET person_key = decode(r.person_key, 'hex')
    FROM jsonb_to_recordset(%(people)s) AS r(openid text, person_key text)
    WHERE follower.account_id = %(account)s AND follower.openid = r.openid
      AND follower.person_key <> decode(r.person_key, 'hex')"""


def lock_followers(
    connection: Driver,
    account_id: int,
    people: Mapping[bytes, tuple[str, datetime]],
    unless_new: Sequence[bytes] = (),
) -> dict[bytes, StoredFollower]:
    """Make sure that every person has a follower row, and lock the rows in id order.

    `people` maps person keys to openid and time seen; those in `unless_new` are locked too but never added. Two
    batches that share followers wait for each other here instead of deadlocking later.
    """
    if not people and not unless_new:
        return {}
    given = {
        "account": account_id,
        "people": as_json(
            {"openid": openid, "person_key": key.hex(), "seen": seen} for key, (openid, seen) in people.items()
        ),
        "keys": [*people, *unless_new],
    }
    found = connection.execute(_LOCK, given).fetchall()
    added = {row[0] for row in found if row[6]}
    if len({row[1] for row in found} & people.keys()) < len(people):
        # Somebody else's batch added one of them after our snapshot was taken, or one is known by the key that a
        # former SECRET_KEY made.
        connection.execute(_KEY_ANEW, given)
        found = connection.execute(_LOCK, given).fetchall()
    return {
        row[1]: StoredFollower(row[0], row[1], row[2], FollowStatus(row[3]), row[4], row[5], row[6] or row[0] in added)
        for row in found
    }


def drop_followers(connection: Driver, follower_ids: Sequence[int]) -> None:
    """Take back rows that `lock_followers` has just added for people of whom there is nothing to keep."""
    connection.execute("DELETE FROM follower WHERE id = ANY(%s) AND state_as_of IS NULL", (list(follower_ids),))


EPISODE_COLUMNS = """
    e.follower_id, e.id, e.started_at, e.ended_at, e.source, e.scene, e.attribution_id,
    a.kind, a.merchant_id, a.code_id, a.rule, a.rule_version"""

_TAKEN_IN = """
    SELECT dedupe_key, kind, event_at, follower_id, body, reply FROM inbox_event
    WHERE account_id = %(account)s AND dedupe_key = ANY(%(keys)s)
      AND month BETWEEN %(first_month)s AND %(last_month)s"""

_LAST_EPISODES = f"""
    SELECT {EPISODE_COLUMNS}
    FROM unnest(%(ids)s::bigint[]) AS wanted(id)
    CROSS JOIN LATERAL (
        SELECT * FROM follow_episode l WHERE l.follower_id = wanted.id AND l.voided_at IS NULL
        ORDER BY l.started_at DESC LIMIT 1) e
    JOIN attribution a ON a.id = e.attribution_id"""

_ALL_EPISODES = f"""
    SELECT {EPISODE_COLUMNS}
    FROM follow_episode e JOIN attribution a ON a.id = e.attribution_id
    WHERE e.follower_id = ANY(%(ids)s) AND e.voided_at IS NULL
    ORDER BY e.follower_id, e.started_at"""

_TOLD = """
    SELECT DISTINCT follower_id, event_at, source,
           CASE kind WHEN 'subscribe' THEN kind WHEN 'unsubscribe' THEN 'leave'
                     WHEN 'authorization_cancelled' THEN 'leave' ELSE 'sign' END AS what,
           CASE WHEN kind = 'subscribe' THEN scene END AS scene
    FROM inbox_event
    WHERE follower_id = ANY(%(ids)s)
      AND (kind IN ('subscribe', 'unsubscribe', 'authorization_cancelled') OR kind = ANY(%(signs)s))"""

_CODES = """
    SELECT w.scene, w.at, c.id, o.merchant_id, c.public_id, c.ticket, c.label, c.place, m.name, community.name, c.kind
    FROM jsonb_to_recordset(%(wanted)s) AS w(scene text, at timestamptz)
    JOIN sub_qr_code c ON c.account_id = %(account)s AND c.scene = w.scene
    JOIN code_owner o ON o.code_id = c.id AND o.from_at <= w.at AND (o.to_at IS NULL OR w.at < o.to_at)
    JOIN merchant m ON m.id = o.merchant_id
    JOIN community ON community.id = m.community_id"""

# Whom somebody talks to at a moment: the latest of what they scanned, said they want, and wrote to. A message window
# is open for as long as a conversation counts. What they were asked last comes along.
_CONTEXTS = """
    SELECT w.follower_id,
           CASE WHEN is_chosen THEN choice.merchant_id ELSE told.merchant_id END,
           CASE WHEN choice.merchant_id IS NOT DISTINCT FROM told.merchant_id OR is_chosen THEN choice.at END,
           choice.at IS NOT NULL OR told.at IS NOT NULL,
           q.kind, q.asked_at,
           least(q.expires_at, CASE WHEN q.kind = 'merchant' AND told.at > q.asked_at THEN told.at END),
           q.options, q.inbox_ids, q.enquiry_id
    FROM jsonb_to_recordset(%(wanted)s) AS w(follower_id bigint, at timestamptz)
    LEFT JOIN LATERAL (
        SELECT c.merchant_id, c.at, c.inbox_id FROM context_choice c
        WHERE c.follower_id = w.follower_id AND c.at <= w.at AND c.at > w.at - %(lasts)s
        ORDER BY c.at DESC, c.inbox_id DESC LIMIT 1) choice ON true
    LEFT JOIN LATERAL (
        SELECT * FROM (
            (SELECT merchant_id, scanned_at AS at, inbox_id FROM scan
             WHERE scan.follower_id = w.follower_id AND scan.merchant_id IS NOT NULL
               AND scan.scanned_at <= w.at AND scan.scanned_at > w.at - %(lasts)s
               AND scan.month BETWEEN %(first_month)s AND %(last_month)s
             ORDER BY scan.scanned_at DESC, scan.inbox_id DESC LIMIT 1)
            UNION ALL
            (SELECT merchant_id, opened_at, inbox_id FROM message_window m
             WHERE m.follower_id = w.follower_id AND m.merchant_id IS NOT NULL AND m.trigger = 'message'
               AND m.opened_at <= w.at AND m.expires_at > w.at
             ORDER BY m.expires_at DESC, m.inbox_id DESC LIMIT 1)) either
        ORDER BY at DESC, inbox_id DESC LIMIT 1) told ON true
    CROSS JOIN LATERAL (
        SELECT choice.at IS NOT NULL AND (told.at IS NULL OR (choice.at, choice.inbox_id) >= (told.at, told.inbox_id))
    ) AS latest(is_chosen)
    LEFT JOIN pending_question q ON q.follower_id = w.follower_id"""

_POSTS = f"""
    SELECT i.follower_id, i.merchant_id, i.bound_at, least(i.unbound_at, staff.disabled_at),
           i.unbound_at IS NULL AND {MAY_SIGN_IN}
    FROM staff_identity i JOIN staff ON staff.id = i.staff_id LEFT JOIN merchant ON merchant.id = staff.merchant_id
    WHERE i.follower_id = ANY(%(ids)s)"""

# Trials and links are locked after the followers and in one order, like everything else a batch locks.
_TRIALS = """
    SELECT c.scene, t.id, t.armed_at, t.expires_at
    FROM code_trial t JOIN sub_qr_code c ON c.id = t.code_id
    WHERE c.account_id = %(account)s AND c.scene = ANY(%(scenes)s) AND t.used_at IS NULL AND t.expires_at > %(since)s
    ORDER BY t.id FOR UPDATE OF t"""

_LINKS = """
    SELECT l.id, l.scene, l.purpose, l.number, l.device, l.state, l.follower_id, l.scanned_at, l.expires_at,
           s.name, m.name
    FROM staff_link l LEFT JOIN staff s ON s.id = l.staff_id LEFT JOIN merchant m ON m.id = l.merchant_id
    WHERE l.scene = ANY(%(scenes)s)
       OR (l.follower_id = ANY(%(ids)s) AND l.purpose = 'sign_in' AND l.state = 'scanned')
    ORDER BY l.id FOR UPDATE OF l"""

_SHOPS = """
    SELECT w.id, f.merchant_id, m.name, f.muted_at IS NOT NULL, o.follower_id IS NOT NULL
    FROM unnest(%(ids)s::bigint[]) AS w(id)
    LEFT JOIN opt_out o ON o.follower_id = w.id
    LEFT JOIN (fan f JOIN merchant m ON m.id = f.merchant_id) ON f.follower_id = w.id AND f.erased_at IS NULL
    ORDER BY w.id, f.first_touch_at, f.merchant_id"""

_KEYWORDS = """
    SELECT keyword, id FROM coupon_template
    WHERE keyword = ANY(%(keywords)s) AND keyword <> '' AND state IN ('live', 'paused')"""

_HELLOS = """
    SELECT DISTINCT r.follower_id, r.merchant_id
    FROM broadcast_recipient r JOIN broadcast b ON b.id = r.broadcast_id AND b.state = 'running'
    WHERE r.follower_id = ANY(%(ids)s) AND r.state = 'planned' AND r.route = 'hello'"""

_IDS = """
    SELECT ARRAY(SELECT nextval('inbox_event_id_seq') FROM generate_series(1, %(inbox)s)),
           ARRAY(SELECT nextval('follow_episode_id_seq') FROM generate_series(1, %(history)s)),
           ARRAY(SELECT nextval('attribution_id_seq') FROM generate_series(1, %(history)s)),
           (SELECT max(number) FROM answer_book),
           ARRAY(SELECT page FROM answer_book WHERE number > %(read)s)"""

_WAITING = """
    SELECT id, follower_id, event_at, body->>'Content' FROM inbox_event
    WHERE id = ANY(%(ids)s) AND kind = 'text' AND body IS NOT NULL ORDER BY event_at, id"""


@dataclass(frozen=True, slots=True)
class TakenIn:
    """An event the inbox holds, with the reply it was answered with; body and reply are gone after an erasure."""

    kind: str
    event_at: datetime
    follower_id: int | None
    body: dict[str, Any] | None
    reply: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What most events need to know, read in one go."""

    taken_in: dict[str, TakenIn]
    """What the inbox already holds under the batch's dedupe keys."""
    last: dict[int, StoredEpisode]
    """Each follower's newest episode."""
    codes: dict[tuple[str, datetime], CodeSeen]
    """Whose code each scene was at each moment; scenes that were nobody's are missing."""
    contexts: dict[int, Context]
    """Whom each follower talked to at the moment of a message; who talked to nobody is missing."""
    questions: dict[int, Question]
    """What each of them was asked last."""
    talks: dict[tuple[int, int], TalkSeen]
    """Their talks of the last days, by follower and merchant."""
    book_number: int
    """How often anything of what answers are made of has changed."""
    book_pages: list[int]
    """The pages of it that did since this process read it."""
    posts: dict[int, list[Post]]
    """Where each follower who scanned something works or has worked."""
    trials: dict[str, list[StoredTrial]]
    """Codes that wait for a test scan, by scene."""
    links: list[StoredLink]
    """The staff codes that were scanned, or whose number somebody may be writing."""
    shops: dict[int, list[Shop]]
    """The merchants whose fan each writer is, by first touch."""
    opted_out: set[int]
    """Who of them wants no merchant's broadcasts."""
    keywords: dict[str, int]
    """The coupon that each keyword asks for."""
    hellos: set[tuple[int, int]]
    """For which follower a message of which merchant waits for the next hello."""
    ids: "Ids"
    """One of each kind for every event: enough unless a whole history has to be told again."""


@dataclass(slots=True)
class Ids:
    """Reserved ids, so that rows which point at each other need no second trip; taken from the end."""

    inbox: list[int]
    episodes: list[int]
    attributions: list[int]


NOBODY: Final[Mapping[int, datetime]] = {}


def glimpse(
    connection: Driver,
    account_id: int,
    *,
    book_read: int,
    keys: Mapping[str, date],
    follower_ids: Sequence[int],
    scans: Collection[tuple[str, datetime]],
    messages: Mapping[int, datetime],
    scanners: Sequence[int] = (),
    staff_scenes: Collection[str] = (),
    writers_of_numbers: Sequence[int] = (),
    writers: Sequence[int] = (),
    keywords: Collection[str] = (),
    callers: Mapping[int, datetime] = NOBODY,
) -> Glimpse:
    """Read what a batch needs in one round trip. `keys` maps dedupe keys to the month the event belongs to;
    `book_read` is the number up to which this process has read the book of answers.

    `scanners` scanned something; `staff_scenes` are those of staff codes; writers of numbers wrote two digits;
    `writers` wrote or tapped what somebody answers; `keywords` may be those of coupons; `callers` did what opens a
    window.
    """
    given = {
        "account": account_id,
        "keys": list(keys),
        "first_month": min(keys.values()),
        "last_month": max(keys.values()),
    }
    with connection.pipeline():
        taken_in = connection.execute(_TAKEN_IN, given)
        last = connection.execute(_LAST_EPISODES, {"ids": list(follower_ids)}) if follower_ids else None
        codes = _read_codes(connection, account_id, scans) if scans else None
        contexts = _read_contexts(connection, messages) if messages else None
        posts = connection.execute(_POSTS, {"ids": list(scanners)}) if scanners else None
        trials = _read_trials(connection, account_id, scans) if scans else None
        links = None
        if staff_scenes or writers_of_numbers:
            links = connection.execute(_LINKS, {"scenes": list(staff_scenes), "ids": list(writers_of_numbers)})
        shops = connection.execute(_SHOPS, {"ids": list(writers)}) if writers else None
        talks = _read_talks(connection, callers) if callers else None
        templates = connection.execute(_KEYWORDS, {"keywords": list(keywords)}) if keywords else None
        hellos = connection.execute(_HELLOS, {"ids": list(callers)}) if callers else None
        ids = connection.execute(_IDS, {"inbox": len(keys), "history": len(keys), "read": book_read})
    spoken_to = contexts.fetchall() if contexts else []
    reserved = ids.fetchone()
    assert reserved is not None  # noqa: S101
    subscriptions = shops.fetchall() if shops else []
    return Glimpse(
        taken_in={row[0]: TakenIn(*row[1:]) for row in taken_in},
        last={row[0]: _episode(row) for row in last or ()},
        codes=_codes(codes) if codes else {},
        contexts={row[0]: Context(row[1], row[2]) for row in spoken_to if row[3]},
        questions={row[0]: _question(row[4:]) for row in spoken_to if row[4] is not None},
        talks=intake.seen(talks or ()),
        book_number=reserved[3] or 0,
        book_pages=reserved[4],
        posts=_grouped((row[0], Post(*row[1:])) for row in posts or ()),
        trials=_grouped((row[0], StoredTrial(*row[1:])) for row in trials or ()),
        links=[_link(row) for row in links or ()],
        shops=_grouped((row[0], Shop(*row[1:4])) for row in subscriptions if row[1] is not None),
        opted_out={row[0] for row in subscriptions if row[4]},
        keywords={row[0]: row[1] for row in templates or ()},
        hellos={(row[0], row[1]) for row in hellos or ()},
        ids=_reserved(reserved),
    )


def _link(row: tuple[Any, ...]) -> StoredLink:
    link_id, scene, purpose, number, device, state, follower_id, scanned_at, expires_at, staff_name, merchant = row
    return StoredLink(
        link_id, scene, LinkPurpose(purpose), number, device, LinkState(state), follower_id, scanned_at, expires_at,
        staff_name, merchant,
    )  # fmt: skip


K = TypeVar("K")
V = TypeVar("V")


def _grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def _read_trials(
    connection: Driver, account_id: int, scans: Collection[tuple[str, datetime]]
) -> psycopg.Cursor[tuple[Any, ...]]:
    given = {
        "account": account_id,
        "scenes": list({scene for scene, _ in scans}),
        "since": min(at for _, at in scans),
    }
    return connection.execute(_TRIALS, given)


def _read_contexts(connection: Driver, messages: Mapping[int, datetime]) -> psycopg.Cursor[tuple[Any, ...]]:
    given = {
        "wanted": as_json({"follower_id": follower_id, "at": at} for follower_id, at in messages.items()),
        "lasts": CONTEXT_LASTS,
        "first_month": month_of(min(messages.values()) - CONTEXT_LASTS),
        "last_month": month_of(max(messages.values())),
    }
    return connection.execute(_CONTEXTS, given)


def _question(row: tuple[Any, ...]) -> Question:
    kind, asked_at, expires_at, options, inbox_ids, enquiry_id = row
    shops = tuple(Shop(one["id"], one["name"], is_muted=False) for one in options)
    return Question(Asks(kind), asked_at, expires_at, shops, tuple(inbox_ids), enquiry_id)


def _read_talks(connection: Driver, callers: Mapping[int, datetime]) -> psycopg.Cursor[tuple[Any, ...]]:
    given = {"ids": list(callers), "since": min(callers.values()) - intake.SEEN_FOR}
    return connection.execute(intake.SEEN, given)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that waits until its writer has said for which shop it is."""

    inbox_id: int
    follower_id: int
    at: datetime
    text: str


def waiting(connection: Driver, inbox_ids: Collection[int]) -> list[Waiting]:
    """Those messages, as far as they are still kept."""
    return [Waiting(*row) for row in connection.execute(_WAITING, {"ids": list(inbox_ids)}) if row[3] is not None]


def codes_at(
    connection: Driver, account_id: int, wanted: Collection[tuple[str, datetime]]
) -> dict[tuple[str, datetime], CodeSeen]:
    """Whose code each scene was at each moment; scenes that were nobody's are missing."""
    return _codes(_read_codes(connection, account_id, wanted)) if wanted else {}


def _read_codes(
    connection: Driver, account_id: int, wanted: Collection[tuple[str, datetime]]
) -> psycopg.Cursor[tuple[Any, ...]]:
    rows = as_json({"scene": scene, "at": at} for scene, at in wanted)
    return connection.execute(_CODES, {"account": account_id, "wanted": rows})


def _codes(rows: Iterable[tuple[Any, ...]]) -> dict[tuple[str, datetime], CodeSeen]:
    return {(row[0], row[1]): CodeSeen(Owner(row[2], row[3]), *row[4:]) for row in rows}


def _episode(row: tuple[Any, ...]) -> StoredEpisode:
    _, episode_id, started_at, ended_at, source, scene, attribution_id, kind, *credit = row
    return StoredEpisode(
        episode_id,
        Episode(started_at, EpisodeSource(source), scene, ended_at),
        attribution_id,
        Credit(AttributionKind(kind), *credit),
    )


def all_episodes(connection: Driver, follower_ids: Sequence[int]) -> dict[int, list[StoredEpisode]]:
    """Each follower's episodes in order, voided ones left out."""
    found: dict[int, list[StoredEpisode]] = {}
    for row in connection.execute(_ALL_EPISODES, {"ids": list(follower_ids)}):
        found.setdefault(row[0], []).append(_episode(row))
    return found


def told_facts(connection: Driver, follower_ids: Sequence[int], sign_kinds: Sequence[str]) -> dict[int, list[Fact]]:
    """Everything the inbox ever heard that bears on whether these followers follow."""
    kinds = {"subscribe": FactKind.FOLLOW, "leave": FactKind.LEAVE, "sign": FactKind.SIGN}
    facts: dict[int, list[Fact]] = {}
    told = connection.execute(_TOLD, {"ids": list(follower_ids), "signs": list(sign_kinds)})
    for follower_id, event_at, source, what, scene in told:
        facts.setdefault(follower_id, []).append(Fact(event_at, kinds[what], EpisodeSource(source), scene))
    return facts


def reserve_more(connection: Driver, ids: Ids, history: int) -> None:
    """Add as many ids of episodes and attributions as a history that is told again may need."""
    row = connection.execute(_IDS, {"inbox": 0, "history": history, "read": None}).fetchone()
    assert row is not None  # noqa: S101
    more = _reserved(row)
    ids.episodes += more.episodes
    ids.attributions += more.attributions


def _reserved(row: tuple[Any, ...]) -> Ids:
    inbox, episodes, attributions, *_ = row
    # Of two events of a batch the one that came first gets the smaller number.
    return Ids(inbox[::-1], episodes, attributions)
