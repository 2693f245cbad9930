"""Traffic: every query of the operator's pages at a million people and ten million scans, with the daily counts and
without them; the overview end to end; and whether counting keeps up while events arrive.

Queries run as the role that runs them, each several times with another range or merchant; percentiles are over all.
A crowd takes a while to make and to count, so that `--home` keeps it for another run.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import click
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.callback import ACCOUNT, AES_KEY, APP_ID, SECRET_KEY, TOKEN
from benchmarks.crowd import Scale, settle
from bot.inbox import Inbox
from bot.queries import latest_events
from core.clock import business_day
from core.database import Role
from core.migrate import upgrade
from core.runtime import Runtime
from core.servers import EmbeddedServers
from core.settings import read_settings
from merchants import staff
from merchants.models import StaffRole
from qrcodes import alarms, happenings, insights, neighbours, rollups, standing, traffic, truth
from qrcodes.happenings import Behind, Figure
from qrcodes.insights import Grouping
from qrcodes.standing import Verdict
from qrcodes.traffic import Range, Sort
from tests.community import Code, new_openid, scanned, subscribed
from tests.web.conftest import PASSWORD, Browser
from web.app import create_app
from web.site.queries import doors

WITHOUT_TIMES = 1
BATCH = 16
TABLES = (
    "scan",
    "follow_episode",
    "attribution",
    "daily_traffic",
    "onward_scan",
    "neighbour_exchange",
    "uncounted_scan",
)


@contextlib.contextmanager
def house(home: Path | None) -> Iterator[Runtime]:
    """A migrated database on durable embedded servers, thrown away afterwards unless it has a home."""
    with contextlib.ExitStack() as stack:
        folder = home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quanma-bench-")))
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        account = {
            "secret_key": SECRET_KEY, "wechat_app_id": APP_ID, "wechat_app_secret": "0" * 32, "wechat_token": TOKEN,
            "wechat_aes_key": AES_KEY, "wechat_account": ACCOUNT, "wechat_api_url": "http://127.0.0.1:9",
        }  # fmt: skip
        settings = read_settings(_env_file=None, quanma_home=folder, **account)
        embedded = EmbeddedServers(settings, is_durable=True)
        stack.callback(embedded.leave)
        urls = {"database_url": embedded.urls.database_url, "redis_url": embedded.urls.redis_url}
        runtime = Runtime.build(read_settings(_env_file=None, quanma_home=folder, **account, **urls), embedded.urls)
        stack.callback(runtime.database.dispose)
        upgrade(runtime.database, SECRET_KEY)
        yield runtime


@dataclass(frozen=True)
class Timed:
    """Milliseconds of one kind of query."""

    name: str
    role: Role
    times: list[float]
    without: list[float]
    """The same counted from the rows, where there is such a thing."""

    def __str__(self) -> str:
        def both(times: list[float]) -> str:
            return f"{statistics.median(times):8.1f} {max(times):8.1f}" if times else f"{'–':>8} {'–':>8}"

        return f"{self.name:44} {self.role.value.removeprefix('quanma_'):9} {both(self.times)}   {both(self.without)}"


Query = Callable[[Session], object]


@dataclass
class Bench:
    runtime: Runtime
    times: int
    largest: int
    median: int

    def measure(
        self,
        name: str,
        query: Query,
        without: Query | None = None,
        *,
        role: Role = Role.PLATFORM,
        merchant_id: int | None = None,
    ) -> None:
        def run(one: Query, times: int) -> list[float]:
            taken = []
            for _ in range(times):
                with self.runtime.transaction(role, merchant_id=merchant_id, statement_timeout_s=600) as session:
                    session.execute(text("SELECT 1"))
                    begun = time.perf_counter()
                    one(session)
                    taken.append((time.perf_counter() - begun) * 1000)
            return taken

        run(query, 2)
        slow = run(without, WITHOUT_TIMES) if without else []
        click.echo(str(Timed(name, role, run(query, self.times), slow)))

    def pages(self) -> None:
        """Every page's queries."""
        now = self.runtime.now()
        week, month, year = (Range.last_days(days, now) for days in (7, 30, 366))
        long_ago = Range(month.since - timedelta(days=200), month.until - timedelta(days=200))
        click.echo(f"{'':44} {'role':9} {'p50 ms':>8} {'worst':>8}   {'rows p50':>8} {'worst':>8}")
        for name, span in (("today", Range.last_days(1, now)), ("7 days", week), ("30 days", month), ("a year", year)):
            self.measure(f"totals, {name}", partial(traffic.total, span=span), partial(truth.total, span=span))
            self.measure(
                f"ranking, {name}",
                partial(traffic.ranking, span=span, sort=Sort.NET, limit=20),
                partial(truth.by_merchant, span=span),
            )
            self.measure(
                f"busiest codes, {name}",
                partial(traffic.busiest_codes, span=span, limit=20),
                partial(truth.by_code, span=span),
            )
        self.measure("days, 30 days", partial(traffic.by_day, span=month), partial(truth.by_day, span=month))
        for by in Grouping:
            self.measure(f"by {by}, 30 days", partial(insights.by_group, span=month, by=by))
        self.measure("cohorts, 52 weeks", partial(insights.cohorts, weeks=52, now=now))
        self.measure("flow, 7 days", partial(insights.flow, span=week))
        self.measure("flow, 30 days", partial(insights.flow, span=month))
        self.measure("hours, 30 days", partial(insights.hours, span=month))
        yesterday = business_day(now) - timedelta(days=1)
        self.measure("alarms of a day", partial(alarms.of_day, day=yesterday, limit=5))
        self.measure("judging a day (once a morning)", partial(alarms.judge_yesterday, now=now))
        self.measure("adding up the last days (at midnight)", a_new_day)
        self.measure("counting the standings (once a night)", partial(standings, runtime=self.runtime))
        span = neighbours.window(business_day(now))
        self.measure("standings of a community", self.standings)
        self.measure("neighbours of all", partial(neighbours.liveliest, limit=50))
        self.measure("the largest's neighbours", partial(neighbours.of_merchant, merchant_id=self.largest, limit=50))
        self.measure(
            "people behind the largest's standing",
            partial(standing.people, span=span, merchant_id=self.largest, verdict=Verdict.COUNTED, limit=50),
        )
        self.measure("visits behind a pair", partial(self.visits, span=span))
        self.measure("front page", self.front, role=Role.FAN)
        self.measure("latest events", latest_events)
        for figure in Figure:
            for name, behind in (
                ("all", Behind(figure, month)),
                ("all, long ago", Behind(figure, long_ago)),
                ("largest merchant", Behind(figure, month, merchant_id=self.largest)),
                ("median merchant", Behind(figure, month, merchant_id=self.median)),
            ):
                self.measure(f"rows behind {figure}, {name}", partial(happenings.page, behind=behind))
        for by, key in ((Grouping.PLACE, "电梯"), (Grouping.KIND, "promoter")):
            with self.runtime.transaction(Role.PLATFORM) as session:
                those = insights.members(session, by, key)
            for figure in Figure:
                if figure is not Figure.ONWARD:
                    behind = Behind(figure, year, code_ids=those)
                    self.measure(f"rows behind {figure} of a {by}, a year", partial(happenings.page, behind=behind))
        behind = Behind(Figure.SCANS, year, weekday=0, hour=5)
        self.measure("rows behind Mondays at five, a year", partial(happenings.page, behind=behind))
        behind = Behind(Figure.KEPT, year, after=30)
        self.measure("rows behind who was kept, a year", partial(happenings.page, behind=behind))
        for name, merchant_id in (("largest", self.largest), ("median", self.median)):
            self.measure(
                f"{name} merchant's days, 30 days",
                partial(traffic.by_day, span=month, merchant_id=merchant_id),
                partial(truth.by_day, span=month, merchant_id=merchant_id),
                role=Role.MERCHANT,
                merchant_id=merchant_id,
            )
            self.measure(
                f"{name} merchant's codes, 30 days",
                partial(traffic.by_code, span=month, merchant_id=merchant_id),
                partial(truth.by_code, span=month, merchant_id=merchant_id),
                role=Role.MERCHANT,
                merchant_id=merchant_id,
            )
            cohorts = partial(insights.cohorts, weeks=52, now=now, merchant_id=merchant_id)
            self.measure(f"{name} merchant's cohorts", cohorts)
            self.measure(f"{name} merchant's hours", partial(insights.hours, span=month, merchant_id=merchant_id))

    def standings(self, session: Session) -> object:
        community_id = session.execute(text("SELECT min(community_id) FROM merchant")).scalar_one()
        return standing.page(session, community_id=community_id, limit=50)

    def visits(self, session: Session, span: Range) -> object:
        (pair,) = neighbours.liveliest(session, limit=1)
        return neighbours.visits(session, span, from_id=pair.merchant_id, to_id=pair.neighbour_id, limit=50)

    def front(self, session: Session) -> object:
        community_id = session.execute(text("SELECT min(id) FROM community")).scalar_one()
        return doors(session, community_id=community_id, search="", after=None, limit=49, now=self.runtime.now())

    def end_to_end(self) -> None:
        """Pages as a browser asks for them, from the request to the last byte, within one process."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            now = self.runtime.now()
            token = staff.invite(session, name="基准", role=StaffRole.OPERATOR, merchant_id=None, now=now)
            login = f"bench{now.timestamp():.0f}"
            staff.accept(session, token=token, login=login, password=PASSWORD, now=now)
        browser = Browser(create_app(self.runtime).test_client())
        browser.sign_in(login)
        rooms = ("ranking", "standing", "groups", "kept", "flow", "exchange", "hours", "rows", "alarms")
        without_days = {"standing", "kept", "exchange", "alarms"}
        months = [f"/operator/traffic/{room}{'' if room in without_days else '?span=month'}" for room in rooms]
        for path in ("/operator/", "/operator/?span=month", *months):
            times = []
            for _ in range(self.times):
                begun = time.perf_counter()
                answer = browser.get(path)
                times.append((time.perf_counter() - begun) * 1000)
                assert answer.status_code == 200, path
            click.echo(f"{path:44} {statistics.median(times):8.1f} {max(times):8.1f} ms, {len(answer.data):,} bytes")

    def keep_up(self, seconds: int, rate: int) -> None:
        """Events arrive at a rate while the scheduler's beat counts; how far behind it ever is."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            codes = [Code(*row) for row in session.execute(text("SELECT id, merchant_id, scene FROM sub_qr_code"))]
            people = [row[0] for row in session.execute(text("SELECT openid FROM follower WHERE status = 'following'"))]
        inbox, chance, over = Inbox(self.runtime), random.Random(1), threading.Event()
        begun, sent, late = time.monotonic(), 0, 0.0
        beats: list[tuple[int, float]] = []

        def count() -> None:
            while not over.wait(2.0):
                start = time.perf_counter()
                with self.runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
                    counted = rollups.count(session)
                beats.append((counted.notes, time.perf_counter() - start))

        counter = threading.Thread(target=count)
        counter.start()
        while (passed := time.monotonic() - begun) < seconds:
            if sent > passed * rate:
                time.sleep(0.005)
                continue
            at = self.runtime.now().replace(microsecond=0)
            picked = chance.sample(people, BATCH)
            events = [
                subscribed(new_openid(), at, chance.choice(codes).scene) if chance.random() < 0.3
                else scanned(person, at, chance.choice(codes).scene)
                for person in picked
            ]  # fmt: skip
            inbox.receive(events)
            sent += len(events)
            late = max(late, time.monotonic() - begun - sent / rate)
        over.set()
        counter.join()
        with self.runtime.transaction(Role.PLATFORM) as session:
            waiting = session.execute(text("SELECT count(*) FROM uncounted_scan")).scalar_one()
        begun = time.monotonic()
        rollups.catch_up(self.runtime)
        durations = sorted(duration for _, duration in beats)
        click.echo(
            f"{sent:,} events in {seconds} s ({sent / seconds:.0f}/s wanted {rate}/s, at worst {late:.1f} s late);"
            f" {len(beats)} beats counted {sum(notes for notes, _ in beats):,} notes, a beat took"
            f" {statistics.median(durations) * 1000:.0f} ms, at worst {durations[-1] * 1000:.0f} ms;"
            f" {waiting:,} scans waited at the end, counted within {time.monotonic() - begun:.1f} s"
        )

    def sizes(self) -> None:
        statement = text("""
            SELECT sum(pg_table_size(part)), sum(pg_indexes_size(part)), sum(reltuples)
            FROM (
                SELECT inhrelid AS part FROM pg_inherits WHERE inhparent = CAST(:name AS regclass)
                UNION ALL SELECT oid FROM pg_class WHERE oid = CAST(:name AS regclass) AND relkind = 'r'
            ) parts JOIN pg_class ON oid = part""")
        with self.runtime.transaction(Role.MIGRATE) as session:
            for name in TABLES:
                table, indexes, rows = session.execute(statement, {"name": name}).one()
                click.echo(
                    f"{name:16} {rows:>12,.0f} rows {table / 2**20:8,.0f} MiB, indexes {indexes / 2**20:8,.0f} MiB"
                )


def standings(_session: Session, *, runtime: Runtime) -> None:
    """What every night counts anew."""
    standing.recount(runtime)


def a_new_day(session: Session) -> None:
    """What the first counting of a day does besides."""
    session.execute(text("UPDATE traffic_state SET recent_until = NULL"))
    rollups.look_back(session, [], may_take_long=True)


def fill(runtime: Runtime, scale: Scale) -> None:
    """Make the crowd unless it is there, and count it."""

    def say(line: str) -> None:
        click.echo(line, err=True)

    with runtime.transaction(Role.PLATFORM) as session:
        is_there = session.execute(text("SELECT EXISTS (SELECT 1 FROM scan)")).scalar_one()
    if not is_there:
        settle(runtime, scale, say)
    begun, scans = time.monotonic(), 0
    while True:
        with runtime.transaction(Role.PLATFORM, statement_timeout_s=7_200) as session:
            session.execute(text("SET LOCAL work_mem = '300MB'"))
            counted = rollups.count(session, at_once=max(10_000, scale.scans // 4), waits=True)
        scans += counted.scans
        if not counted.notes:
            break
        say(f"counted {scans:,} scans: {time.monotonic() - begun:.0f} s")
    if scans:
        seconds = time.monotonic() - begun
        click.echo(f"first counting of {scans:,} scans: {seconds:.0f} s, {scans / seconds:,.0f}/s")
    with runtime.transaction(Role.MIGRATE, statement_timeout_s=600) as session:
        session.execute(text("ANALYZE daily_traffic, onward_scan"))


@click.command()
@click.option("--fans", default=1_000_000)
@click.option("--scans", default=10_000_000)
@click.option("--merchants", default=5_000)
@click.option("--times", default=10, help="How often each query is asked.")
@click.option("--seconds", default=60, help="How long events arrive.")
@click.option("--rate", default=300, help="Events a second.")
@click.option("--home", type=click.Path(path_type=Path), help="Where the crowd is kept for another run.")
def main(fans: int, scans: int, merchants: int, times: int, seconds: int, rate: int, home: Path | None) -> None:
    """Measure the pages about traffic at full size."""
    with house(home) as runtime:
        scale = Scale(fans, scans, merchants)
        fill(runtime, scale)
        with runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
            by_size = session.execute(
                text("""
                    SELECT merchant_id FROM daily_traffic WHERE level = 'merchant' AND merchant_id <> 0
                    GROUP BY merchant_id ORDER BY sum(scans) DESC""")
            ).scalars()
            merchants_by_size = list(by_size)
        bench = Bench(runtime, times, merchants_by_size[0], merchants_by_size[len(merchants_by_size) // 2])
        bench.sizes()
        bench.pages()
        bench.end_to_end()
        bench.keep_up(seconds, rate)


if __name__ == "__main__":
    main()
