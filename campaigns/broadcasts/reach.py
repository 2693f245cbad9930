"""The reach router: for every fan of an audience the best route that is allowed now, or the reason why there is none.

One statement judges; the forecast counts what it says and freezing writes it down, so the two cannot differ. It
runs under the merchant's role as well as the platform's.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.broadcasts import bank
from campaigns.broadcasts.models import NotReached, Route
from qrcodes import fans
from qrcodes.fans import Filter

RESERVED_FOR_ANSWERS: Final = 2
"""The last messages of a window stay for the conversation (BC-10)."""
SMALLEST_MASS: Final = 2
"""The platform takes no mass send to one (BC-9)."""
FORECAST_TIMEOUT_S: Final = 25
HOLD_OUT_FROM: Final = 1_000
"""Of fewer nothing could be learnt."""

# What must hold of a fan whenever something is sent to them, as SQL. Aliases: `f` their follower, `fan` their fan row.
FOLLOWS: Final = "f.status = 'following' AND f.openid IS NOT NULL"
WANTS_MERCHANT: Final = "fan.muted_at IS NULL AND fan.erased_at IS NULL"
"""Also where there is no fan row: the platform's own digest has no merchant."""
WANTS_ANY: Final = "NOT EXISTS (SELECT 1 FROM opt_out WHERE opt_out.follower_id = f.id)"
MAY_GET: Final = f"{FOLLOWS} AND {WANTS_MERCHANT} AND {WANTS_ANY}"


@dataclass(frozen=True)
class Audience:
    """Whom a broadcast is for, and what it may do to reach them."""

    merchant_id: int
    wanted: Filter
    hello_days: int = 0
    held_out_percent: int = 0
    has_variants: bool = False
    seed: int = 0
    """The broadcast's id: draws who is held out and who gets which text, the same each time."""


@dataclass(frozen=True)
class Forecast:
    """What would happen if it were sent now."""

    audience: int
    routes: dict[Route, int] = field(default_factory=dict)
    missed: dict[NotReached, int] = field(default_factory=dict)
    calls: int = 0
    """How many of the account's mass calls of a day it takes."""
    share_left: int = 0

    @property
    def reached(self) -> int:
        """Everybody who has a route; of the next hellos nobody knows how many come."""
        return sum(self.routes.values())

    @property
    def can_hold_out(self) -> bool:
        return self.reached + self.missed.get(NotReached.HELD_OUT, 0) >= HOLD_OUT_FROM


@dataclass(frozen=True)
class Reached:
    """One fan behind a number of the forecast."""

    follower_id: int
    number: str
    last_seen_at: datetime
    note: str


# Laid out in steps: what speaks against any message, which routes are open, the route, and at last what only the
# whole decides: the merchant's share goes to who was there most lately, and a mass send needs two.
_JUDGED: Final = """
    WITH open AS (
        SELECT f.follower_id, f.last_touch_at,
               CASE WHEN w.status = 'ambiguous' THEN 'ambiguous'
                    WHEN w.status <> 'following' THEN 'left'
                    WHEN f.muted_at IS NOT NULL THEN 'muted'
                    WHEN EXISTS (SELECT 1 FROM opt_out o WHERE o.follower_id = f.follower_id) THEN 'opted_out'
               END AS refused,
               EXISTS (SELECT 1 FROM message_window m
                       WHERE m.follower_id = f.follower_id AND m.merchant_id = f.merchant_id AND m.wants_offers
                         AND m.expires_at > app_now() AND m.allowance - m.used > :reserved)
               AND NOT EXISTS (SELECT 1 FROM unreachable u WHERE u.follower_id = f.follower_id
                               AND u.channel = 'window' AND u.since >= w.last_seen_at) AS has_window,
               CASE WHEN EXISTS (SELECT 1 FROM unreachable u WHERE u.follower_id = f.follower_id
                                 AND u.channel = 'mass' AND u.since >= w.last_seen_at) THEN 'unreachable'
                    WHEN coalesce(q.used, 0) >= :cap THEN 'month'
                    WHEN CASE WHEN q.follower_id IS NOT NULL THEN CASE WHEN q.week = :week THEN q.week_used ELSE 0 END
                              WHEN p.week = :week THEN p.week_used ELSE 0 END >= :week_most THEN 'week'
               END AS no_mass
        FROM fan f
        JOIN follower w ON w.id = f.follower_id
        LEFT JOIN fan_month_quota q ON q.follower_id = f.follower_id AND q.month = :month
        LEFT JOIN fan_month_quota p ON p.follower_id = f.follower_id AND p.month = :before
        WHERE {conditions}),
    routed AS (
        SELECT follower_id, last_touch_at, refused, no_mass,
               CASE WHEN refused IS NOT NULL THEN 'none' WHEN has_window THEN 'window'
                    WHEN no_mass IS NULL THEN 'mass' WHEN :hello_days > 0 THEN 'hello' ELSE 'none' END AS route
        FROM open),
    ranked AS (
        SELECT follower_id, refused, no_mass, route,
               CASE WHEN route <> 'none' AND mod(abs(hashint8extended(follower_id, :seed)), 100) < :held_out
                    THEN 'held_out' END AS held_out,
               CASE WHEN :has_variants AND mod(abs(hashint8extended(follower_id, :seed + 1)), 2) = 1
                    THEN 'b' ELSE 'a' END AS variant,
               row_number() OVER (PARTITION BY route ORDER BY last_touch_at DESC, follower_id) AS place,
               count(*) OVER (PARTITION BY route) AS many
        FROM routed),
    judged AS (
        SELECT follower_id, variant,
               CASE WHEN refused IS NOT NULL THEN refused WHEN held_out IS NOT NULL THEN held_out
                    WHEN route = 'none' THEN no_mass
                    WHEN route = 'mass' AND :hello_days = 0 AND place > :share_left THEN 'share'
                    WHEN route = 'mass' AND :hello_days = 0 AND many < :smallest THEN 'alone' END AS reason,
               CASE WHEN held_out IS NOT NULL THEN 'none'
                    WHEN route = 'mass' AND (place > :share_left OR many < :smallest)
                    THEN CASE WHEN :hello_days > 0 THEN 'hello' ELSE 'none' END
                    ELSE route END AS route
        FROM ranked)"""


def judged(session: Session, audience: Audience, now: datetime) -> tuple[str, dict[str, Any]]:
    """The common part of a statement: rows of `judged (follower_id, variant, route, reason)`, with its parameters."""
    policy, month = bank.policy(session), bank.month_of(now)
    conditions, given = fans.conditions(audience.merchant_id, audience.wanted)
    return _JUDGED.format(conditions=conditions), {
        **given,
        "month": month,
        "before": bank.month_before(month),
        "week": bank.week_of(now),
        "week_most": policy.week_most,
        "cap": policy.slots(audience.merchant_id) - bank.sends_to_everybody(session, month),
        "share_left": bank.share(session, audience.merchant_id, month, policy).left,
        "reserved": RESERVED_FOR_ANSWERS,
        "smallest": SMALLEST_MASS,
        "hello_days": audience.hello_days,
        "held_out": audience.held_out_percent,
        "has_variants": audience.has_variants,
        "seed": audience.seed,
    }


def forecast(
    session: Session,
    *,
    merchant_id: int,
    wanted: Filter,
    hello_days: int,
    now: datetime,
    held_out_percent: int = 0,
    seed: int = 0,
) -> Forecast:
    """Whom a message to these fans would reach if it were sent now, by which routes, and why not the others."""
    audience = Audience(merchant_id, wanted, hello_days, held_out_percent, seed=seed)
    statement, given = judged(session, audience, now)
    # Of a million fans it takes longer than a page's other questions may.
    session.execute(text(f"SET LOCAL statement_timeout = '{FORECAST_TIMEOUT_S}s'"))
    rows = session.execute(
        text(f"{statement} SELECT route, reason, count(*) FROM judged GROUP BY route, reason"), given
    ).all()
    routes = {Route(route): count for route, _, count in rows if route != Route.NONE}
    missed = {NotReached(reason): count for route, reason, count in rows if route == Route.NONE}
    batch = bank.policy(session).batch_size
    return Forecast(
        audience=sum(count for *_, count in rows),
        routes=routes,
        missed=missed,
        calls=-(-routes.get(Route.MASS, 0) // batch),
        share_left=given["share_left"],
    )


def listed(
    session: Session,
    *,
    merchant_id: int,
    wanted: Filter,
    hello_days: int,
    which: Route | NotReached,
    now: datetime,
    held_out_percent: int = 0,
    seed: int = 0,
    after: int = 0,
    limit: int = 50,
) -> list[Reached]:
    """Some of the people behind a number of the forecast, by id from `after` on."""
    audience = Audience(merchant_id, wanted, hello_days, held_out_percent, seed=seed)
    statement, given = judged(session, audience, now)
    column = "route" if isinstance(which, Route) else "reason"
    rows = session.execute(
        text(f"""{statement}
            SELECT j.follower_id, f.number, f.last_touch_at, f.note
            FROM judged j JOIN fan f ON f.merchant_id = :merchant_id AND f.follower_id = j.follower_id
            WHERE j.{column} = :which AND j.follower_id > :after ORDER BY j.follower_id LIMIT :limit"""),
        {**given, "which": which, "after": after, "limit": limit},
    )
    return [Reached(*row) for row in rows]
