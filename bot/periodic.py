"""What the scheduler starts by itself."""

from datetime import datetime, time, timedelta
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from bot import erasers, follow_ups, notices, reconcile, retention
from bot.menus import publishing as menus
from bot.talks import enquiries, sending, telling
from campaigns.broadcasts import calls, control, hello, mass, reports
from campaigns.coupons import giving
from campaigns.points import ledger, proof
from core.clock import business_day
from core.partitions import ensure_ahead
from core.scheduler import Periodic
from qrcodes import alarms, rollups, standing

OUTAGE: Final = timedelta(seconds=15)
"""WeChat gives up on an event after about as long: a longer silence may have lost some."""

log = structlog.get_logger(__name__)


def note_alive(session: Session, now: datetime, *, who: str = "scheduler") -> None:
    """Called every few seconds by whoever must be there for events to arrive, and at its start.

    If nobody by that name was heard of for longer than an `OUTAGE`, that is noted for the charts, and one comparison
    with the platform's list is owed.
    Silence is measured on real time: moving the clock is no outage.
    """
    name = {"name": f"alive:{who}"}
    silence: timedelta | None = session.execute(
        text("SELECT clock_timestamp() - last_started_at FROM periodic_run WHERE name = :name FOR UPDATE"), name
    ).scalar()
    session.execute(
        text("""
            INSERT INTO periodic_run (name, last_started_at) VALUES (:name, clock_timestamp())
            ON CONFLICT (name) DO UPDATE SET last_started_at = excluded.last_started_at"""),
        name,
    )
    if silence is not None and silence > OUTAGE:
        session.execute(
            text("INSERT INTO outage (who, began_at, ended_at) VALUES (:who, app_now() - :silence, app_now())"),
            {"who": who, "silence": silence},
        )
        log.warning("outage over", who=who, seconds=round(silence.total_seconds()))
        reconcile.owe(session, now)


def make_partitions(session: Session, now: datetime) -> None:
    """Months are there before their first row is."""
    ensure_ahead(session, business_day(now))


TASKS: Final = (
    Periodic("alive", note_alive, every=timedelta(0)),
    Periodic("broadcasts due", control.start_due, every=timedelta(0)),
    Periodic("broadcasts", control.tidy, every=timedelta(0)),
    Periodic("mass reports", mass.settle_by_reports, every=timedelta(seconds=30)),
    Periodic("missed hellos", hello.expire, every=timedelta(minutes=1)),
    Periodic("foreign sends", reports.foreign_reports, every=timedelta(minutes=1)),
    Periodic("reserved coupons", giving.release_reserved, every=timedelta(0)),
    Periodic("expired coupons", giving.expire_due, every=timedelta(seconds=30)),
    Periodic("birthday coupons", giving.owe_birthdays, daily_at=giving.BIRTHDAYS_AT),
    Periodic("traffic", rollups.keep_up, every=timedelta(0)),
    Periodic("lost follow-ups", follow_ups.give_up_lost_calls, every=timedelta(seconds=30)),
    Periodic("waiting talks", telling.tell_of_waiting, every=timedelta(seconds=10)),
    Periodic("lost answers", sending.give_up_lost_calls, every=timedelta(seconds=30)),
    Periodic("forgotten answers", sending.owe_forgotten, every=timedelta(minutes=1)),
    Periodic("silent talks", enquiries.close_silent, every=timedelta(minutes=1)),
    Periodic("lost notices", notices.give_up_lost_calls, every=timedelta(seconds=30)),
    Periodic("first fans", notices.tell_of_first_fans, every=timedelta(minutes=1)),
    Periodic("ending codes", notices.tell_of_ending_codes, daily_at=time(8, 30)),
    Periodic("ambiguous followers", reconcile.owe_decisions, every=timedelta(minutes=1)),
    Periodic("the account's menu", menus.owe_look, every=timedelta(minutes=30)),
    Periodic("due erasures", erasers.owe_due, every=timedelta(minutes=1)),
    Periodic("points vested", ledger.vest_due, every=timedelta(0)),
    Periodic("points expired", ledger.expire_due, every=timedelta(0)),
    Periodic("ledgers proved", proof.owe, daily_at=proof.PROVED_AT),
    Periodic("partitions", make_partitions, daily_at=time(0, 20)),
    Periodic("reconcile", reconcile.owe, daily_at=time(3, 10)),
    Periodic("standings", standing.owe, daily_at=standing.COUNTED_AT),
    Periodic("retention", retention.owe, daily_at=time(3, 40)),
    Periodic("traffic alarms", alarms.judge_yesterday, daily_at=time(7, 0)),
    Periodic("mass calls allotted", calls.begin_day, daily_at=calls.ALLOTTED_AT),
    Periodic("mass calls returned", calls.return_unused, daily_at=calls.RETURNED_AT),
    Periodic("restatements", rollups.forget_restatements, daily_at=time(3, 50)),
)
