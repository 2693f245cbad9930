"""Keeping the daily counts: what triggers noted as uncounted is added up, each scan and each follow exactly once.

Counting takes notes away and adds what they mean in one transaction, so it may be killed at any moment; one process
counts at a time. The cost is that of the people noted, however many others their day or merchant has.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core import outbox
from core.database import Role
from core.outbox import Task
from core.runtime import Runtime
from qrcodes import traffic
from qrcodes.counted import NOBODY

COUNT: Final = "count_traffic"
AT_ONCE: Final = 1_000
"""Notes taken at a beat of the scheduler; where there are more, a worker counts beside it."""
AT_ONCE_IN_A_JOB: Final = 10_000
LONGEST_JOB_S: Final = 50.0
RESTATEMENTS_SHOWN: Final = 50

_HOURS: Final = ", ".join(f"count(*) FILTER (WHERE hour = {hour})::integer" for hour in range(24))

_PLACE: Final = "level, merchant_id, code_id, day"


def _merged(changes: str, steps: str, sums: str) -> str:
    """The steps of every place that `changes` touches: those it has, put together with what changes."""
    return f"""
        SELECT {_PLACE}, array_agg(step ORDER BY step) AS steps, array_agg(running ORDER BY step) AS sums
        FROM (
            SELECT {_PLACE}, step, sum(sum(people)) OVER (PARTITION BY {_PLACE} ORDER BY step)::integer AS running
            FROM (
                SELECT {_PLACE}, step, people FROM {changes}
                UNION ALL
                SELECT {_PLACE}, kept.step,
                       kept.running - lag(kept.running, 1, 0) OVER (PARTITION BY {_PLACE} ORDER BY kept.step)
                FROM (SELECT DISTINCT {_PLACE} FROM {changes}) touched
                CROSS JOIN LATERAL (
                    SELECT {steps}, {sums} FROM daily_traffic d
                    WHERE (d.level, d.day, d.merchant_id, d.code_id)
                        = (touched.level, touched.day, touched.merchant_id, touched.code_id) OFFSET 0
                ) before
                CROSS JOIN LATERAL unnest(before.{steps}, before.{sums}) AS kept(step, running)
            ) every
            GROUP BY {_PLACE}, step HAVING sum(people) <> 0
        ) merged GROUP BY {_PLACE}"""


# All that is noted of a person is taken at once, and all their scans are looked at with and without it: the difference
# is what counts. The OFFSETs keep the plan at the people it is about, however few or many notes there are.
_COUNT: Final = f"""
    WITH people AS MATERIALIZED (
        SELECT DISTINCT follower_id
        FROM (SELECT follower_id FROM uncounted_scan ORDER BY follower_id LIMIT :at_once) first
    ), taken AS (
        DELETE FROM uncounted_scan u USING people WHERE u.follower_id = people.follower_id RETURNING u.scan_id
    ), told AS (
        DELETE FROM uncounted_follow
        WHERE id IN (SELECT id FROM uncounted_follow ORDER BY id LIMIT :at_once)
        RETURNING attribution_id, ended_at, sign, is_news
    ), scanned AS MATERIALIZED (
        SELECT s.follower_id, coalesce(s.merchant_id, 0) AS merchant_id, coalesce(s.code_id, 0) AS code_id,
               business_day(s.scanned_at) AS day,
               extract(hour FROM s.scanned_at AT TIME ZONE 'Asia/Shanghai') AS hour,
               noted.is_news IS NOT NULL AS is_new, noted.is_news
        FROM people
        CROSS JOIN LATERAL (SELECT * FROM scan WHERE scan.follower_id = people.follower_id OFFSET 0) s
        LEFT JOIN LATERAL (
            SELECT is_news FROM uncounted_scan u WHERE u.follower_id = s.follower_id AND u.scan_id = s.id OFFSET 0
        ) noted ON true
    ), placed AS (
        SELECT place.*, follower_id, day, hour, is_new, is_news
        FROM scanned CROSS JOIN LATERAL (
            VALUES ('account', 0, 0), ('merchant', merchant_id, 0), ('code', merchant_id, code_id)
        ) place(level, merchant_id, code_id)
        WHERE place.level <> 'code' OR place.code_id <> 0
    ), visits AS MATERIALIZED (
        SELECT {_PLACE}, follower_id, bool_and(is_new) AS is_new FROM placed GROUP BY {_PLACE}, follower_id
    ), paced AS MATERIALIZED (
        SELECT {_PLACE}, is_new, day - lag(day) OVER following AS gap,
               day - max(day) FILTER (WHERE NOT is_new)
                   OVER (following ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS former_gap
        FROM visits
        WINDOW following AS (PARTITION BY level, merchant_id, code_id, follower_id ORDER BY day)
    ), gap_changes AS MATERIALIZED (
        SELECT {_PLACE}, gap::smallint AS step, sum(people) AS people
        FROM (
            SELECT {_PLACE}, gap, 1 AS people FROM paced
            WHERE gap IS NOT NULL AND (is_new OR gap IS DISTINCT FROM former_gap)
            UNION ALL
            SELECT {_PLACE}, former_gap, -1 FROM paced
            WHERE former_gap IS NOT NULL AND NOT is_new AND gap IS DISTINCT FROM former_gap
        ) moved
        GROUP BY {_PLACE}, gap HAVING sum(people) <> 0
    ), gap_steps AS ({_merged("gap_changes", "gaps", "seen")}
    ), scan_changes AS (
        SELECT {_PLACE}, count(*) AS scans,
               CASE WHEN level <> 'code' THEN ARRAY[{_HOURS}] ELSE '{{}}' END AS by_hour, bool_or(is_news) AS is_news
        FROM placed WHERE is_new GROUP BY {_PLACE}
    ), scanner_changes AS (
        SELECT {_PLACE}, count(*) AS scanners FROM visits WHERE is_new GROUP BY {_PLACE}
    ), follows AS MATERIALIZED (
        SELECT a.follower_id, coalesce(a.merchant_id, 0) AS merchant_id, coalesce(a.code_id, 0) AS code_id,
               business_day(a.followed_at) AS won_on, business_day(told.ended_at) AS lost_on, a.kind,
               ceil(extract(epoch FROM told.ended_at - a.followed_at) / 86400)::smallint AS stay, told.sign,
               told.is_news
        FROM told JOIN attribution a ON a.id = told.attribution_id
    ), credited AS MATERIALIZED (
        SELECT place.level, place.merchant_id, place.code_id, change.*
        FROM follows CROSS JOIN LATERAL (
            VALUES ('account', 0, 0), ('merchant', merchant_id, 0), ('code', merchant_id, code_id)
        ) place(level, merchant_id, code_id)
        CROSS JOIN LATERAL (
            SELECT won_on AS day, sign * (kind = 'new')::integer AS new, sign * (kind = 'returning')::integer AS back,
                   0 AS lost, stay, sign, is_news
            WHERE kind IN ('new', 'returning')
            UNION ALL
            SELECT lost_on, 0, 0, sign, NULL, sign, is_news WHERE lost_on IS NOT NULL
        ) change
        WHERE place.level <> 'code' OR place.code_id <> 0
    ), follow_changes AS (
        SELECT {_PLACE}, sum(new) AS new, sum(back) AS back, sum(lost) AS lost, bool_or(is_news) AS is_news
        FROM credited GROUP BY {_PLACE}
    ), stay_changes AS MATERIALIZED (
        SELECT {_PLACE}, stay AS step, sum(sign) AS people
        FROM credited WHERE stay IS NOT NULL GROUP BY {_PLACE}, stay HAVING sum(sign) <> 0
    ), stay_steps AS ({_merged("stay_changes", "stays", "gone")}
    ), changes AS MATERIALIZED (
        SELECT {_PLACE}, coalesce(scans, 0) AS scans, coalesce(scanners, 0) AS scanners, coalesce(new, 0) AS new,
               coalesce(back, 0) AS back, coalesce(lost, 0) AS lost, coalesce(by_hour, '{{}}') AS by_hour,
               gap_touched IS NOT NULL AS has_gaps, coalesce(gap_steps.steps, '{{}}') AS gaps,
               coalesce(gap_steps.sums, '{{}}') AS seen,
               stay_touched IS NOT NULL AS has_stays, coalesce(stay_steps.steps, '{{}}') AS stays,
               coalesce(stay_steps.sums, '{{}}') AS gone,
               coalesce(scan_changes.is_news, false) OR coalesce(follow_changes.is_news, false) AS is_news
        FROM scan_changes
        FULL JOIN scanner_changes USING ({_PLACE})
        FULL JOIN follow_changes USING ({_PLACE})
        FULL JOIN (SELECT DISTINCT {_PLACE} FROM gap_changes) gap_touched USING ({_PLACE})
        FULL JOIN (SELECT DISTINCT {_PLACE} FROM stay_changes) stay_touched USING ({_PLACE})
        LEFT JOIN gap_steps USING ({_PLACE})
        LEFT JOIN stay_steps USING ({_PLACE})
    ), restated AS (
        INSERT INTO traffic_restatement (day, merchant_id, scans, scanners, new, back, lost)
        SELECT day, merchant_id, scans, scanners, new, back, lost FROM changes
        WHERE level = 'merchant' AND is_news AND day < business_day(app_now()) - 1
          AND (scans <> 0 OR new <> 0 OR back <> 0 OR lost <> 0)
        ORDER BY day, merchant_id
    ), written AS (
        INSERT INTO daily_traffic
            (level, day, merchant_id, code_id, scans, scanners, new, back, lost, by_hour, gaps, seen, stays, gone)
        SELECT c.level, c.day, c.merchant_id, c.code_id, coalesce(b.scans, 0) + c.scans,
               coalesce(b.scanners, 0) + c.scanners, coalesce(b.new, 0) + c.new, coalesce(b.back, 0) + c.back,
               coalesce(b.lost, 0) + c.lost,
               ARRAY(SELECT coalesce(was, 0) + coalesce(more, 0)
                     FROM unnest(b.by_hour, c.by_hour) WITH ORDINALITY AS hours(was, more, hour) ORDER BY hour),
               CASE WHEN c.has_gaps THEN c.gaps ELSE coalesce(b.gaps, '{{}}') END,
               CASE WHEN c.has_gaps THEN c.seen ELSE coalesce(b.seen, '{{}}') END,
               CASE WHEN c.has_stays THEN c.stays ELSE coalesce(b.stays, '{{}}') END,
               CASE WHEN c.has_stays THEN c.gone ELSE coalesce(b.gone, '{{}}') END
        FROM changes c
        LEFT JOIN LATERAL (
            SELECT * FROM daily_traffic d WHERE (d.level, d.day, d.merchant_id, d.code_id)
                = (c.level, c.day, c.merchant_id, c.code_id) OFFSET 0
        ) b ON true
        ORDER BY c.level, c.day, c.merchant_id, c.code_id
        ON CONFLICT (level, day, merchant_id, code_id) DO UPDATE SET
            scans = excluded.scans, scanners = excluded.scanners, new = excluded.new, back = excluded.back,
            lost = excluded.lost, by_hour = excluded.by_hour, gaps = excluded.gaps, seen = excluded.seen,
            stays = excluded.stays, gone = excluded.gone
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM taken) AS scans, (SELECT count(*) FROM told) AS follows,
           (SELECT count(*) FROM written) AS rows_written,
           ARRAY(SELECT follower_id FROM people UNION SELECT follower_id FROM follows) AS people,
           ARRAY(SELECT DISTINCT merchant_id FROM changes
                 WHERE level = 'merchant' AND day > business_day(app_now()) - 30) AS merchants"""

_TODAY: Final = "CAST(:today AS date)"
_COUNTS: Final = (
    "scans", "scanners", "new", "back", "lost",
    *(f"{what}_{days}" for days in traffic.KEPT_AFTER for what in ("kept", "of")),
)  # fmt: skip


def _recent(merchants: str) -> str:
    """Adds the last days of some merchants up anew, each found by its own days."""
    since = f"{_TODAY} - span.days + 1"
    return f"""
        INSERT INTO recent_traffic (days, level, merchant_id, code_id, {", ".join(_COUNTS)})
        SELECT span.days, t.level, t.merchant_id, t.code_id, {traffic.figures(f"({since})")},
               {traffic.stayed(_TODAY)}
        FROM ({merchants}) wanted(id)
        CROSS JOIN (VALUES {", ".join(f"({days})" for days in traffic.RECENT_DAYS)}) span(days)
        CROSS JOIN LATERAL (
            SELECT * FROM daily_traffic d
            WHERE d.merchant_id = wanted.id AND d.level IN ('merchant', 'code') AND d.day BETWEEN {since} AND {_TODAY}
            OFFSET 0
        ) t
        GROUP BY span.days, t.level, t.merchant_id, t.code_id
        ON CONFLICT (days, level, merchant_id, code_id) DO UPDATE SET
            {", ".join(f"{name} = excluded.{name}" for name in _COUNTS)}"""


# Told anew for whoever something was counted of: where their follows led next.
_ONWARD: Final = """
    WITH people AS MATERIALIZED (SELECT unnest(CAST(:people AS bigint[])) AS follower_id),
    onward AS MATERIALIZED (
        SELECT e.id AS episode_id, e.follower_id, a.merchant_id AS from_merchant_id,
               next.merchant_id AS to_merchant_id, next.scanned_at
        FROM people
        CROSS JOIN LATERAL (
            SELECT * FROM follow_episode f
            WHERE f.follower_id = people.follower_id AND f.voided_at IS NULL OFFSET 0
        ) e
        CROSS JOIN LATERAL (SELECT * FROM attribution WHERE attribution.id = e.attribution_id OFFSET 0) a
        CROSS JOIN LATERAL (
            SELECT s.merchant_id, s.scanned_at FROM scan s
            WHERE s.follower_id = e.follower_id AND s.scanned_at >= a.followed_at
              AND (e.ended_at IS NULL OR s.scanned_at <= e.ended_at) AND s.merchant_id <> a.merchant_id
            ORDER BY s.scanned_at, s.id LIMIT 1
        ) next
        WHERE a.kind IN ('new', 'returning')
    ), dropped AS (
        DELETE FROM onward_scan o USING people
        WHERE o.follower_id = people.follower_id AND o.episode_id NOT IN (SELECT episode_id FROM onward)
    )
    INSERT INTO onward_scan AS o (episode_id, follower_id, from_merchant_id, to_merchant_id, scanned_at)
    SELECT * FROM onward
    ON CONFLICT (episode_id) DO UPDATE SET from_merchant_id = excluded.from_merchant_id,
        to_merchant_id = excluded.to_merchant_id, scanned_at = excluded.scanned_at
    WHERE (o.from_merchant_id, o.to_merchant_id, o.scanned_at)
        IS DISTINCT FROM (excluded.from_merchant_id, excluded.to_merchant_id, excluded.scanned_at)"""


@dataclass(frozen=True)
class Counted:
    """What one step of counting did."""

    scans: int
    follows: int
    rows_written: int

    @property
    def notes(self) -> int:
        return self.scans + self.follows


def count(session: Session, *, at_once: int = AT_ONCE, waits: bool = False) -> Counted:
    """Count about `at_once` noted scans and as many follows; nothing where somebody else counts, unless it `waits`."""
    lock = "SELECT 1 FROM traffic_state FOR UPDATE" + ("" if waits else " SKIP LOCKED")
    if session.execute(text(lock)).scalar() is None:
        return Counted(0, 0, 0)
    if not is_behind(session):
        look_back(session, [], may_take_long=waits)
        return Counted(0, 0, 0)
    # The notes' tables grow and shrink from one second to the next: no plan is kept, and none reads a table whole.
    session.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
    session.execute(text("SET LOCAL enable_seqscan = off"))
    row = session.execute(text(_COUNT), {"at_once": at_once}).one()
    session.execute(text(_ONWARD), {"people": row.people})
    look_back(session, row.merchants, may_take_long=waits)
    session.execute(text("SET LOCAL enable_seqscan = on"))
    session.execute(text("UPDATE traffic_state SET counted_at = app_now()"))
    return Counted(row.scans, row.follows, row.rows_written)


def look_back(session: Session, merchant_ids: Sequence[int], *, may_take_long: bool) -> None:
    """Add up the last days of these merchants and their codes; of all of them when a new day has begun.

    Who may not take long only notes that they are of a former day, and lists are added up when asked for meanwhile.
    """
    today, recent_until = session.execute(text("SELECT business_day(app_now()), recent_until FROM traffic_state")).one()
    if recent_until == today:
        if merchant_ids:
            some = "SELECT unnest(CAST(:ids AS bigint[]))"
            session.execute(text(_recent(some)), {"today": today, "ids": list(merchant_ids)})
        return
    if may_take_long:
        session.execute(text("SET LOCAL work_mem = '64MB'"))
        session.execute(text("DELETE FROM recent_traffic"))
        session.execute(text(_recent(f"SELECT id FROM merchant UNION ALL SELECT {NOBODY}")), {"today": today})
    if may_take_long or recent_until is not None:
        state = text("UPDATE traffic_state SET recent_until = :until, counted_at = app_now()")
        session.execute(state, {"until": today if may_take_long else None})


def count_all(session: Session, *, at_once: int = AT_ONCE_IN_A_JOB) -> None:
    """Count everything there is within the caller's transaction: what is read after it is exact."""
    while count(session, at_once=at_once, waits=True).notes:
        pass


def keep_up(session: Session, now: datetime) -> None:
    """Count what came in since the last beat; a longer backlog and a new day are owed to a worker, once a minute."""
    counted = count(session)
    is_new_day = session.execute(text("SELECT recent_until IS NULL FROM traffic_state")).scalar_one()
    if max(counted.scans, counted.follows) >= AT_ONCE or is_new_day:
        key = f"{COUNT}:{now:%Y%m%d%H%M}"
        outbox.add(session, kind=COUNT, dedupe_key=key, payload={}, queue=outbox.SLOW)


def work_off(runtime: Runtime, _task: Task) -> None:
    """Count a backlog for a while; what is left then is owed again."""
    catch_up(runtime, seconds=LONGEST_JOB_S)


def catch_up(runtime: Runtime, *, seconds: float = math.inf, at_once: int = AT_ONCE_IN_A_JOB) -> None:
    """Count in short transactions until nothing waits, or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
            session.execute(text("SET LOCAL lock_timeout = '30s'"))
            if not count(session, at_once=at_once, waits=True).notes:
                return


def is_behind(session: Session) -> bool:
    """Whether anything waits to be counted."""
    statement = "SELECT EXISTS (SELECT 1 FROM uncounted_scan) OR EXISTS (SELECT 1 FROM uncounted_follow)"
    return bool(session.execute(text(statement)).scalar_one())


def counted_at(session: Session) -> datetime:
    """When the counts last changed."""
    at: datetime = session.execute(text("SELECT counted_at FROM traffic_state")).scalar_one()
    return at


@dataclass(frozen=True)
class Restatement:
    """By how much late knowledge changed a finished day of a merchant (None: of nobody's)."""

    day: date
    merchant_id: int | None
    merchant_name: str | None
    noted_at: datetime
    scans: int
    new: int
    returning: int
    lost: int


def restatements(session: Session, *, since: date, until: date) -> list[Restatement]:
    """What became known late about the days of a range, the latest first."""
    rows = session.execute(
        text("""
            SELECT r.day, nullif(r.merchant_id, 0), m.name, max(r.noted_at), sum(r.scans), sum(r.new),
                   sum(r.back), sum(r.lost)
            FROM traffic_restatement r LEFT JOIN merchant m ON m.id = r.merchant_id
            WHERE r.day BETWEEN :since AND :until
            GROUP BY r.day, r.merchant_id, m.name ORDER BY max(r.noted_at) DESC, r.day, r.merchant_id LIMIT :limit"""),
        {"since": since, "until": until, "limit": RESTATEMENTS_SHOWN},
    )
    return [Restatement(*row) for row in rows]


def forget_restatements(session: Session, now: datetime) -> None:
    """Restatements are looked at for a year."""
    session.execute(
        text("DELETE FROM traffic_restatement WHERE noted_at < :before"), {"before": now - timedelta(days=366)}
    )
