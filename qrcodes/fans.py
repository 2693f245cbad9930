"""A merchant's fan list: who is in it, where they came from, and one fan's whole story with this merchant.

Runs under the merchant role as well as the platform's: only what row-level security shows is read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.database import rows_changed
from core.errors import Invalid, NotFound
from merchants.models import Fan, FanTag

NOTE_MAX = 200
TAG_MAX = 12
TAGS_MAX = 10
PAGE = 50


@dataclass(frozen=True)
class FanRow:
    """One fan as the merchant sees them; openids never leave the platform (FA-8)."""

    number: str
    following: bool
    acquired: bool
    """Credited to this merchant: its code made them follow."""
    first_code_id: int | None
    first_code: str | None
    last_code_id: int | None
    last_code: str | None
    has_first_code: bool
    """The code is still this merchant's; otherwise the label is the one it had when it was given away."""
    has_last_code: bool
    first_seen_at: datetime
    last_seen_at: datetime
    note: str
    tags: list[str]
    follower_id: int


@dataclass(frozen=True)
class FanCounts:
    total: int
    following: int


@dataclass(frozen=True)
class Filter:
    """Whom to look for: every condition given has to hold. `search` matches number, note and tags."""

    search: str = ""
    code_id: int | None = None
    following_only: bool = False
    acquired_only: bool = False
    came_within_days: int | None = None
    """Who first touched this merchant so lately."""
    seen_within_days: int | None = None
    away_for_days: int | None = None
    """Who has not touched it for so long."""
    visits_at_least: int | None = None
    """How many scans of this merchant's codes."""
    tag: str = ""
    holds_coupon: bool = False
    """Has one of this merchant's coupons that can still be used."""
    holds_template_id: int | None = None
    """Has one of this template."""
    redeemed_within_days: int | None = None
    """Who has redeemed here so lately; what was taken back counts not."""
    never_redeemed: bool = False
    points_at_least: int | None = None
    """What they can spend here."""
    level_at_least: int | None = None


@dataclass(frozen=True)
class Moment:
    """One entry of a fan's timeline, newest first. `what` is scan, follow or leave."""

    at: datetime
    what: str
    code: str | None
    place: str | None
    kind: str | None
    rule: str | None
    by_staff: bool
    is_test: bool


def _called(code_id: str, own: str) -> str:
    """Joins a code by its id: as `own` while it is the merchant's, else as it was called when it was given away.

    What the next owner calls it is not this merchant's business.
    """
    return f"""
    LEFT JOIN sub_qr_code {own} ON {own}.id = {code_id} AND {own}.merchant_id = :merchant_id
    LEFT JOIN LATERAL (
        SELECT h.label, h.place FROM code_handover h
        WHERE {own}.id IS NULL AND h.code_id = {code_id} AND h.from_merchant_id = :merchant_id AND h.state = 'done'
        ORDER BY h.id DESC LIMIT 1) given_{own} ON true"""


_ACQUIRED = """
    EXISTS (SELECT 1 FROM follow_episode e JOIN attribution a ON a.id = e.attribution_id
            WHERE e.follower_id = f.follower_id AND e.voided_at IS NULL AND a.merchant_id = f.merchant_id
              AND e.started_at = (SELECT max(started_at) FROM follow_episode l
                                  WHERE l.follower_id = f.follower_id AND l.voided_at IS NULL))"""
_FANS = f"""
    SELECT f.number, w.status = 'following' AS following,
           {_ACQUIRED} AS acquired,
           f.first_code_id, coalesce(first_code.label, given_first_code.label) AS first_code, f.last_code_id,
           coalesce(last_code.label, given_last_code.label) AS last_code,
           first_code.id IS NOT NULL AS has_first_code, last_code.id IS NOT NULL AS has_last_code,
           f.first_touch_at AS first_seen_at, f.last_touch_at AS last_seen_at, f.note,
           ARRAY(SELECT t.tag FROM fan_tag t WHERE t.merchant_id = f.merchant_id AND t.follower_id = f.follower_id
                 ORDER BY t.tag) AS tags,
           f.follower_id
    FROM fan f
    JOIN follower w ON w.id = f.follower_id
    {_called("f.first_code_id", "first_code")}
    {_called("f.last_code_id", "last_code")}
    WHERE f.merchant_id = :merchant_id AND f.erased_at IS NULL"""


def counts(session: Session, merchant_id: int) -> FanCounts:
    """Everybody in the list, erased ones excluded, and those of them who follow the account now."""
    row = session.execute(
        text("""
            SELECT count(*), count(*) FILTER (WHERE w.status = 'following')
            FROM fan f JOIN follower w ON w.id = f.follower_id
            WHERE f.merchant_id = :merchant_id AND f.erased_at IS NULL"""),
        {"merchant_id": merchant_id},
    ).one()
    return FanCounts(row[0], row[1])


_HOLDERS = """
    SELECT c.follower_id FROM coupon c
    WHERE c.merchant_id = :merchant_id AND c.state IN ('issued', 'reserved') AND c.valid_to > app_now()"""
_REDEEMERS = """
    SELECT r.follower_id FROM redemption r WHERE r.merchant_id = :merchant_id AND r.reversed_at IS NULL"""
# The growth of `campaigns.points.levels`: what rules paid within a year and nobody took back. The few that were are
# looked up in one go, whatever the database knows of how many there are.
_GROWTH = """
    FROM points_transfer t
    JOIN points_account a ON a.merchant_id = t.merchant_id AND a.follower_id = t.follower_id AND a.kind = 'fan'
    WHERE t.merchant_id = :merchant_id AND t.kind = 'earn' AND t.rule_id IS NOT NULL
      AND t.at > app_now() - interval '365 days' AND (a.emptied_at IS NULL OR t.at > a.emptied_at)
      AND t.id NOT IN (SELECT b.reverses_id FROM points_transfer b
                       WHERE b.merchant_id = :merchant_id AND b.reverses_id IS NOT NULL)
      AND t.id NOT IN (SELECT d.transfer_id FROM points_debt d WHERE d.merchant_id = :merchant_id)
    GROUP BY t.follower_id"""
_LEVEL_FROM = """
    (SELECT l.from_points FROM member_level l WHERE l.merchant_id = :merchant_id AND l.level = :level_at_least)"""

_CONDITIONS = {
    "search": """
        ((:number <> '' AND f.number LIKE :number || '%') OR strpos(lower(f.note), lower(:search)) > 0
         OR EXISTS (SELECT 1 FROM fan_tag t WHERE t.merchant_id = f.merchant_id AND t.follower_id = f.follower_id
                    AND t.tag = :search))""",
    "code_id": ":code_id IN (f.first_code_id, f.last_code_id)",
    "following_only": "w.status = 'following'",
    "came_within_days": "f.first_touch_at >= app_now() - make_interval(days => :came_within_days)",
    "seen_within_days": "f.last_touch_at >= app_now() - make_interval(days => :seen_within_days)",
    "away_for_days": "f.last_touch_at < app_now() - make_interval(days => :away_for_days)",
    "visits_at_least": """
        f.follower_id IN (SELECT s.follower_id FROM scan s WHERE s.merchant_id = :merchant_id
                          GROUP BY s.follower_id HAVING count(*) >= :visits_at_least)""",
    "tag": """
        EXISTS (SELECT 1 FROM fan_tag t WHERE t.merchant_id = f.merchant_id AND t.follower_id = f.follower_id
                AND t.tag = :tag)""",
    "holds_coupon": f"f.follower_id IN ({_HOLDERS})",
    "holds_template_id": f"f.follower_id IN ({_HOLDERS} AND c.template_id = :holds_template_id)",
    "redeemed_within_days": f"""
        f.follower_id IN (
            {_REDEEMERS} AND r.redeemed_at >= app_now() - make_interval(days => :redeemed_within_days))""",
    "never_redeemed": f"f.follower_id NOT IN ({_REDEEMERS})",
    "points_at_least": """
        f.follower_id IN (SELECT a.follower_id FROM points_account a
                          WHERE a.merchant_id = :merchant_id AND a.kind = 'fan' AND a.balance >= :points_at_least)""",
    "level_at_least": f"""
        (f.follower_id IN (SELECT t.follower_id {_GROWTH} HAVING sum(t.points) >= {_LEVEL_FROM})
         OR {_LEVEL_FROM} <= 0)""",
}
"""By the field of `Filter` that asks for them; `acquired_only` is asked of the finished row."""


def conditions(merchant_id: int, wanted: Filter) -> tuple[str, dict[str, Any]]:
    """Whom a filter means, as SQL conditions on `fan f` and its `follower w`, with their parameters.

    For statements over whole audiences, where reading each fan's labels and tags would cost more than all the rest.
    """
    given = _given(merchant_id, wanted)
    asked = [sql for name, sql in {**_CONDITIONS, "acquired_only": _ACQUIRED}.items() if given.get(name)]
    return " AND ".join(("f.merchant_id = :merchant_id AND f.erased_at IS NULL", *asked)), given


def _given(merchant_id: int, wanted: Filter) -> dict[str, Any]:
    """The parameters of the conditions that are given."""
    given = {name: value for name, value in asdict(wanted).items() if value}
    search = str(given.get("search", "")).strip()
    number = search.upper().replace("-", "").replace("%", "").replace("_", "")
    return {**given, "merchant_id": merchant_id, "search": search, "number": number}


def _matching(merchant_id: int, wanted: Filter | None, *more: str) -> tuple[str, dict[str, Any]]:
    """The rows of those whom a filter means, as SQL, with its parameters."""
    given = _given(merchant_id, wanted or Filter())
    asked = [*more, *(sql for name, sql in _CONDITIONS.items() if given.get(name))]
    rows = f"SELECT * FROM ({_FANS} {' '.join(f'AND {one}' for one in asked)}) fans"
    return (f"{rows} WHERE acquired" if "acquired_only" in given else rows), given


def page(
    session: Session,
    merchant_id: int,
    wanted: Filter | None = None,
    *,
    before: tuple[datetime, int] | None = None,
    limit: int = PAGE,
) -> list[FanRow]:
    """Fans by their latest touch, newest first; `before` is the last row's (last_seen_at, follower_id)."""
    later = () if before is None else ("(f.last_touch_at, f.follower_id) < (:before_at, :before_id)",)
    sql, given = _matching(merchant_id, wanted, *later)
    rows = session.execute(
        text(f"{sql} ORDER BY last_seen_at DESC, follower_id DESC LIMIT :limit"),
        {**given, "before_at": before and before[0], "before_id": before and before[1], "limit": limit},
    )
    return [FanRow(**row._mapping) for row in rows]


def count(session: Session, merchant_id: int, wanted: Filter) -> int:
    """How many fans a filter means now."""
    sql, given = _matching(merchant_id, wanted)
    return int(session.execute(text(f"SELECT count(*) FROM ({sql}) counted"), given).scalar_one())


def which_of(session: Session, merchant_id: int, wanted: Filter, follower_ids: Sequence[int]) -> set[int]:
    """Those among some followers whom a filter means."""
    if not follower_ids:
        return set()
    sql, given = _matching(merchant_id, wanted, "f.follower_id = ANY(:those)")
    found = session.execute(text(f"SELECT follower_id FROM ({sql}) found"), {**given, "those": list(follower_ids)})
    return set(found.scalars())


def everybody(session: Session, merchant_id: int, wanted: Filter | None = None) -> Iterator[FanRow]:
    """All fans that match, page by page, for exports."""
    before: tuple[datetime, int] | None = None
    while rows := page(session, merchant_id, wanted, before=before, limit=1_000):
        yield from rows
        before = (rows[-1].last_seen_at, rows[-1].follower_id)


def by_number(session: Session, merchant_id: int, number: str) -> FanRow:
    """One fan; NotFound for an unknown, erased or foreign number alike (TN-3)."""
    row = session.execute(
        text(f"{_FANS} AND f.number = :number"), {"merchant_id": merchant_id, "number": number}
    ).one_or_none()
    if row is None:
        raise NotFound("没有这位粉丝。")
    return FanRow(**row._mapping)


def timeline(session: Session, merchant_id: int, follower_id: int, *, limit: int = 200) -> list[Moment]:
    """What happened between the fan and this merchant: its scans, and the follows and leaves of the account.

    Who else's codes the fan scans is not this merchant's business and is not shown.
    """
    rows = session.execute(
        text(f"""
            SELECT * FROM (
                SELECT s.scanned_at AS at, 'scan' AS what, coalesce(c.label, given_c.label) AS code,
                       coalesce(c.place, given_c.place) AS place, NULL AS kind, NULL AS rule,
                       s.by_staff, s.is_test
                FROM scan s {_called("s.code_id", "c")}
                WHERE s.merchant_id = :merchant_id AND s.follower_id = :follower_id
                UNION ALL
                SELECT e.started_at, 'follow', coalesce(c.label, given_c.label), coalesce(c.place, given_c.place),
                       a.kind, a.rule, false, false
                FROM follow_episode e
                LEFT JOIN attribution a ON a.id = e.attribution_id AND a.merchant_id = :merchant_id
                {_called("a.code_id", "c")}
                WHERE e.follower_id = :follower_id AND e.voided_at IS NULL
                UNION ALL
                SELECT e.ended_at, 'leave', NULL, NULL, NULL, NULL, false, false
                FROM follow_episode e
                WHERE e.follower_id = :follower_id AND e.voided_at IS NULL AND e.ended_at IS NOT NULL) moments
            ORDER BY at DESC, what LIMIT :limit"""),
        {"merchant_id": merchant_id, "follower_id": follower_id, "limit": limit},
    )
    return [Moment(*row) for row in rows]


def set_note(session: Session, merchant_id: int, follower_id: int, note: str) -> None:
    """Replace what the merchant noted about a fan; at most 200 characters."""
    note = note.strip()
    if len(note) > NOTE_MAX:
        raise Invalid("备注最多 %(longest)s 个字。", field="note", longest=NOTE_MAX)
    mine = update(Fan).where(Fan.merchant_id == merchant_id, Fan.follower_id == follower_id, Fan.erased_at.is_(None))
    statement = mine.values(note=note)
    if rows_changed(session.execute(statement)) == 0:
        raise NotFound("没有这位粉丝。")


def set_tags(session: Session, merchant_id: int, follower_id: int, tags: list[str]) -> None:
    """Replace a fan's tags; at most ten of at most twelve characters each. `NotFound` for a card that was erased."""
    wanted = list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    if len(wanted) > TAGS_MAX or any(len(tag) > TAG_MAX for tag in wanted):
        raise Invalid("最多 %(most)s 个标签，每个最多 %(longest)s 个字。", field="tags", most=TAGS_MAX, longest=TAG_MAX)
    # Locked, so that an erasure comes either before, and there is no card, or after, and takes these tags too.
    mine = select(Fan.follower_id).where(
        Fan.merchant_id == merchant_id, Fan.follower_id == follower_id, Fan.erased_at.is_(None)
    )
    if session.scalar(mine.with_for_update()) is None:
        raise NotFound("没有这位粉丝。")
    session.execute(delete(FanTag).where(FanTag.merchant_id == merchant_id, FanTag.follower_id == follower_id))
    if wanted:
        rows = [{"merchant_id": merchant_id, "follower_id": follower_id, "tag": tag} for tag in wanted]
        session.execute(insert(FanTag), rows)


def known_tags(session: Session, merchant_id: int) -> list[str]:
    """The tags in use, the commonest first."""
    rows = session.execute(
        text("SELECT tag FROM fan_tag WHERE merchant_id = :id GROUP BY tag ORDER BY count(*) DESC, tag LIMIT 50"),
        {"id": merchant_id},
    )
    return list(rows.scalars())
