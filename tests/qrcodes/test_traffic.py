"""Counting who brings whom: what a range looks at."""

import re
from datetime import timedelta

from sqlalchemy import text

from bot.inbox import Inbox
from core.clock import start_of_day
from core.database import Role
from core.runtime import Runtime
from qrcodes import rollups, traffic, truth
from tests.community import Neighbourhood, new_openid, scanned, subscribed


def test_a_range_reads_the_scans_of_its_own_months_only(runtime: Runtime) -> None:
    noon = runtime.now().replace(day=15, hour=4)
    with runtime.transaction(Role.PLATFORM) as session:
        day = traffic.Range.last_days(1, noon)
        statement = text(f"EXPLAIN {truth.HAPPENINGS}")
        plan = "\n".join(session.scalars(statement, truth.parameters(day)))
    assert set(re.findall(r"\bscan_p\d+", plan)) == {f"scan_p{noon:%Y%m}"}


def test_both_ends_of_a_range_are_whole_shanghai_days(runtime: Runtime) -> None:
    street = Neighbourhood(runtime)
    inbox = Inbox(runtime)
    code = street.code(street.merchant("茶馆"))
    until = traffic.Range.last_days(1, street.now).until - timedelta(days=3)
    span = traffic.Range(until - timedelta(days=40), until)
    first, end = span.bounds
    assert (first, end) == (start_of_day(span.since), start_of_day(until + timedelta(days=1)))
    second = timedelta(seconds=1)
    inbox.receive([subscribed(ann := new_openid(), first - second, code.scene)])
    for at in (first, end - second, end):
        inbox.receive([scanned(ann, at, code.scene)])
    with runtime.transaction(Role.PLATFORM) as session:
        rollups.count_all(session)
        counts = traffic.total(session, span, merchant_id=code.merchant_id)
        days = traffic.by_day(session, span)
    assert (counts.scans, counts.scanners, counts.new) == (2, 1, 0)
    assert [day.day for day in days if day.counts.scans] == [span.since, span.until]
