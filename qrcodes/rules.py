"""The versions of the attribution rule: tried on the past first, then in force from a day to come.

Nothing here touches what was credited. A replay only tells who would have moved; a version that comes into force is
for follows from its day on, and one that is in force stays for ever the rule of its time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from core import long_jobs
from core.clock import business_day, start_of_day
from core.database import Role, rows_changed
from core.errors import BusinessError, Invalid, NotFound
from core.long_jobs import Progress, RunningJob
from core.runtime import Runtime
from merchants.following import Episode
from merchants.models import EpisodeSource
from qrcodes.attribution import Owner, Rule, Rules, credits
from qrcodes.models import AttributionKind, AttributionRule, RuleReplay, RuleReplayMove

REPLAY: Final = "rule_replay"
"""The kind of long job that tries a rule."""
LONGEST_PROTECTION_DAYS: Final = 365
NOTICE: Final = timedelta(minutes=10)
"""How long before it comes into force a version is settled: every process has read it by then."""
FRESH: Final = timedelta(days=1)
"""How long a replay speaks for what would happen."""
BATCH: Final = 500


class ReplayFirst(BusinessError):
    code = "replay_first"
    message = "请先用同样的天数试算一次（一天之内），看清楚谁会变，再决定。"


def all_versions(session: Session) -> Rules:
    """Every version that is or will be in force."""
    standing = select(AttributionRule).where(AttributionRule.withdrawn_at.is_(None))
    return Rules(_rule(row) for row in session.scalars(standing))


def history(session: Session) -> list[AttributionRule]:
    """All versions, the newest first, those taken back included."""
    return list(session.scalars(select(AttributionRule).order_by(AttributionRule.version.desc())))


def adopt(session: Session, *, replay_id: int, effective_on: date, operator_id: int, now: datetime) -> int:
    """Put a replayed rule in force from the start of a day to come; returns its version.

    Raises `ReplayFirst` without a finished replay of the last day, `Invalid` for a day that has begun or nearly so.
    """
    replay = session.get(RuleReplay, replay_id)
    if replay is None or replay.finished_at is None or replay.finished_at < now - FRESH:
        raise ReplayFirst
    effective_from = start_of_day(effective_on)
    if effective_from < now + NOTICE:
        raise Invalid("新规则最早从明天零点起算，已经发生的关注不会改判。", field="effective_on")
    # Two operators at once: the second waits, and then has the next number.
    session.execute(text("LOCK TABLE attribution_rule IN SHARE ROW EXCLUSIVE MODE"))
    version = session.execute(select(func.max(AttributionRule.version) + 1)).scalar_one()
    session.execute(
        insert(AttributionRule).values(
            version=version,
            effective_from=effective_from,
            protection_days=replay.protection_days,
            decided_by=operator_id,
            replay_id=replay_id,
        )
    )
    return int(version)


def withdraw(session: Session, *, version: int, now: datetime) -> None:
    """Take a version back that is not in force yet."""
    still_open = (
        update(AttributionRule)
        .where(AttributionRule.version == version, AttributionRule.withdrawn_at.is_(None))
        .where(AttributionRule.effective_from > now + NOTICE)
    )
    if not rows_changed(session.execute(still_open.values(withdrawn_at=now))):
        raise NotFound("这一版已经生效，或者已经撤回了。")


def _rule(row: AttributionRule) -> Rule:
    return Rule(row.version, row.effective_from, timedelta(days=row.protection_days))


# ---- Trying a rule ---------------------------------------------------------------------------------------------------


def start_replay(session: Session, *, protection_days: int, operator_id: int, now: datetime) -> int:
    """Owe a replay of everything by another protection window; returns its id."""
    if not 0 <= protection_days <= LONGEST_PROTECTION_DAYS:
        raise Invalid("保护期为 0 到 %(longest)s 天。", field="days", longest=LONGEST_PROTECTION_DAYS)
    new = insert(RuleReplay).values(protection_days=protection_days).returning(RuleReplay.id)
    replay_id: int = session.execute(new).scalar_one()
    job_id = long_jobs.start(session, kind=REPLAY, requested_by=operator_id, payload={"replay_id": replay_id}, now=now)
    session.execute(update(RuleReplay).where(RuleReplay.id == replay_id).values(job_id=job_id))
    return replay_id


@dataclass(frozen=True)
class Gain:
    """What a replay would have meant for one merchant; None: for nobody."""

    merchant_id: int | None
    name: str | None
    won: int
    lost: int


def gains(session: Session, replay_id: int) -> list[Gain]:
    """For whom the replay makes a difference, the largest first."""
    rows = session.execute(
        text("""
            SELECT moved.merchant_id, m.name, count(*) FILTER (WHERE moved.won) AS won,
                   count(*) FILTER (WHERE NOT moved.won) AS lost
            FROM (SELECT merchant_id, true AS won FROM rule_replay_move WHERE replay_id = :id
                  UNION ALL SELECT former_merchant_id, false FROM rule_replay_move WHERE replay_id = :id) moved
            LEFT JOIN merchant m ON m.id = moved.merchant_id
            GROUP BY moved.merchant_id, m.name ORDER BY count(*) DESC, moved.merchant_id"""),
        {"id": replay_id},
    )
    return [Gain(*row) for row in rows]


def moves(session: Session, replay_id: int, *, before: int | None = None, limit: int = 50) -> list[RuleReplayMove]:
    """The follows that would be credited otherwise, the newest found first."""
    statement = select(RuleReplayMove).where(RuleReplayMove.replay_id == replay_id)
    if before is not None:
        statement = statement.where(RuleReplayMove.id < before)
    return list(session.scalars(statement.order_by(RuleReplayMove.id.desc()).limit(limit)))


def replay(runtime: Runtime, job: RunningJob) -> Iterator[Progress]:
    """Judge everybody who ever came back by the rule to be tried, and note down whose follows it credits otherwise."""
    replay_id = int(job.payload["replay_id"])
    with runtime.transaction(Role.PLATFORM) as session:
        # A run before this one may have died half way.
        session.execute(delete(RuleReplayMove).where(RuleReplayMove.replay_id == replay_id))
        days = session.get_one(RuleReplay, replay_id).protection_days
        total = session.execute(text(f"SELECT count(*) FROM ({_CAME_BACK}) f"), {"after": 0}).scalar_one()  # noqa: S608
    candidate = Rules([Rule(0, datetime.min.replace(tzinfo=runtime.now().tzinfo), timedelta(days=days))])
    done, after = 0, 0
    while True:
        with runtime.transaction(Role.PLATFORM, statement_timeout_s=30) as session:
            batch = (
                session.execute(text(f"{_CAME_BACK} LIMIT :limit"), {"after": after, "limit": BATCH}).scalars().all()
            )
            if not batch:
                session.execute(
                    update(RuleReplay).where(RuleReplay.id == replay_id).values(judged=done, finished_at=runtime.now())
                )
                return
            found = list(_moves_of(session, batch, candidate))
            if found:
                session.execute(insert(RuleReplayMove), [{"replay_id": replay_id, **one} for one in found])
        done, after = done + len(batch), batch[-1]
        yield Progress(done, total)


# Only a later follow can be judged otherwise: the first one is the code's, whatever the window.
_CAME_BACK: Final = """
    SELECT follower_id FROM follow_episode WHERE voided_at IS NULL AND follower_id > :after
    GROUP BY follower_id HAVING count(*) > 1 ORDER BY follower_id"""

_EPISODES: Final = """
    SELECT e.follower_id, e.started_at, e.ended_at, e.source, e.scene, a.merchant_id,
           own.code_id AS owner_code_id, own.merchant_id AS owner_merchant_id
    FROM follow_episode e
    JOIN attribution a ON a.id = e.attribution_id
    LEFT JOIN LATERAL (
        SELECT o.code_id, o.merchant_id FROM follower f
        JOIN sub_qr_code c ON c.account_id = f.account_id AND c.scene = e.scene
        JOIN code_owner o ON o.code_id = c.id AND o.from_at <= e.started_at
            AND (o.to_at IS NULL OR e.started_at < o.to_at)
        WHERE f.id = e.follower_id) own ON true
    WHERE e.follower_id = ANY(:ids) AND e.voided_at IS NULL
    ORDER BY e.follower_id, e.started_at"""


def _moves_of(session: Session, follower_ids: Sequence[int], candidate: Rules) -> Iterator[dict[str, Any]]:
    """The follows of these people that the candidate credits to another merchant than they are credited to."""
    stories: dict[int, list[Any]] = {}
    for row in session.execute(text(_EPISODES), {"ids": list(follower_ids)}):
        stories.setdefault(row.follower_id, []).append(row)
    for follower_id, rows in stories.items():
        episodes = [Episode(row.started_at, EpisodeSource(row.source), row.scene, row.ended_at) for row in rows]
        owners = {
            (row.scene, row.started_at): Owner(row.owner_code_id, row.owner_merchant_id)
            for row in rows
            if row.owner_code_id is not None
        }

        def owner_at(scene: str, at: datetime, owners: dict[Any, Owner] = owners) -> Owner | None:
            return owners.get((scene, at))

        verdicts = credits(episodes, owner_at, candidate)
        for row, verdict in zip(rows, verdicts, strict=True):
            if verdict.merchant_id != row.merchant_id and verdict.kind is AttributionKind.RETURNING:
                yield {
                    "follower_id": follower_id,
                    "followed_at": row.started_at,
                    "former_merchant_id": row.merchant_id,
                    "merchant_id": verdict.merchant_id,
                }


def earliest_day(now: datetime) -> date:
    """The first day from which a version decided now can be in force."""
    return business_day(now + NOTICE) + timedelta(days=1)
