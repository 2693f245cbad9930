"""A fault run of broadcasts: real workers and a scheduler against the sandbox, and everything that befalls them."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from campaigns.broadcasts import control
from core import migrate
from core.database import Database, Role
from core.runtime import Runtime
from core.servers import embedded_servers
from core.settings import read_settings
from tests.broadcasting import CUSTOM, MASS, Shop, log_of, without_quiet_hours
from tests.conftest import (
    SECRET_KEY,
    Live,
    Program,
    advance,
    environment_of,
    set_to_noon,
    start_sandbox,
    violations,
    wait_until,
)
from tests.faults.nemesis import Nemesis, kill, lose_valkey, postmaster
from tests.faults.sending_verdict import Call, Evidence, Halt, Row, calls_of, judge, left_out, pace, rows_of, unknown

CALLS_A_DAY = 1000
LOST = 0.03
_OPEN = "'planned', 'claimed', 'calling'"
OPERATOR_WAITS_S = 3.5
"""Longer than the two seconds after which nothing more may arrive."""


@dataclass(frozen=True)
class Scale:
    """How large a run is, and how much befalls it. Each of the fans gets two broadcasts of one shop, and those who
    have not asked two more of another: with that their month is full."""

    asking: int
    others: int
    batch: int
    workers: int
    kills: int
    """SIGKILLs of a process that is sending customer-service messages."""
    mass_kills: int
    """SIGKILLs of a process that is in a mass call."""
    storms: Sequence[int]
    pauses: int
    loses_servers: bool
    window_ms: int
    mass_ms: int
    every: tuple[float, float]
    is_hurried: bool
    """The minute after which a lost call is given up, and the one the platform wants between two tries, are cut short
    by moving leases of the dead and both clocks."""
    patience_s: float
    module: str = "web.cli"

    @property
    def recipients(self) -> int:
        return 2 * self.asking + 4 * self.others


@contextlib.contextmanager
def sending_system(folder: Path, scale: Scale) -> Iterator[Live]:
    """Servers of its own, a sandbox, a scheduler and workers."""
    settings = read_settings(_env_file=None, quanma_home=folder, secret_key=SECRET_KEY)
    with embedded_servers(settings) as urls:
        database = Database(urls.database_url, SECRET_KEY, pooled=False)
        migrate.upgrade(database, SECRET_KEY)
        settings = settings.model_copy(update={"database_url": urls.database_url, "redis_url": urls.redis_url})
        limits = ",".join(f"day:{path}={CALLS_A_DAY * 100}" for path in (CUSTOM, MASS))
        sandbox = start_sandbox(
            folder, settings, callback_url="http://127.0.0.1:9/none", log=folder / "sandbox.log", limits=limits
        )
        sandbox.post("/sandbox/account", callback_url="")
        settings = settings.model_copy(update={f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")})
        runtime = Runtime.build(settings, urls)
        set_to_noon(runtime)
        sandbox.post("/sandbox/clock", offset_seconds=runtime.clock.offset().total_seconds())
        environment = environment_of(settings)
        commands = {
            "scheduler": ("scheduler",),
            **{f"sender {number}": ("worker", "broadcasts") for number in range(scale.workers)},
        }
        live = Live("", settings, runtime, sandbox, {}, folder)
        try:
            for name, command in commands.items():
                log = folder / f"{name}.log"
                live.programs[name] = Program(command, environment, log, module=scale.module)
            yield live
        finally:
            for program in [*live.programs.values(), sandbox.program]:
                program.kill()
            runtime.database.dispose()


@dataclass(frozen=True)
class Kill:
    """What a process held in its hands when it died."""

    way: str
    windows: int
    batches: int


@dataclass
class SendingRun:
    """One run: what is sent, what is done to it, and what is noted for the judge."""

    live: Live
    scale: Scale
    chance: random.Random
    nemesis: Nemesis
    halts: list[Halt] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    began: float = 0.0
    lasted: float = 0.0

    # What is sent

    def prepare(self) -> None:
        """Fans, and a platform that loses replies."""
        runtime, sandbox, scale = self.live.runtime, self.live.sandbox, self.scale
        without_quiet_hours(runtime)
        self._change(
            "UPDATE quota_policy SET batch_size = :batch, calls_per_day = :calls, slots_kept = 0, week_most = 4,"
            " share_base = 1000000, repeats_unknown = true",
            batch=scale.batch,
            calls=CALLS_A_DAY,
        )
        self.tea, self.noodles, self.flowers = (Shop.open(runtime, sandbox, name) for name in ("茶馆", "面馆", "花店"))
        self.tea.fans(scale.asking, asking=True)
        others = self.tea.fans(scale.others)
        self.noodles.visited_by([self.tea.openids[one] for one in others])
        self.flowers.fans(max(scale.asking // 10, 20), asking=True)
        sandbox.post("/sandbox/faults", mode="replace", rules=self._weather())

    def _weather(self) -> list[dict[str, object]]:
        """Every call takes its time, and of a hundred three go without an answer though they were carried out."""
        rules: list[dict[str, object]] = []
        for path, milliseconds, calls in (
            (MASS, self.scale.mass_ms, 200),
            (CUSTOM, self.scale.window_ms, 3 * self.scale.asking),
        ):
            slow, told = {"latency_ms": milliseconds}, 0
            while told < calls:
                well = self.chance.randint(0, round(2 / LOST))
                if well:
                    rules.append({"match": {"path": path}, "next": well, "do": slow})
                rules.append({"match": {"path": path}, "next": 1, "do": {**slow, "lost_reply": True}})
                told += well + 1
            rules.append({"match": {"path": path}, "next": None, "do": slow})
        return rules

    def begin(self) -> None:
        """The scheduler finds four broadcasts that are due, and one that nobody will want in a moment."""
        self.began = time.monotonic()
        self.words = [f"第{number}条" for number in range(4)]
        for shop, words in zip((self.tea, self.tea, self.noodles, self.noodles), self.words, strict=True):
            shop.approved(words)
        self.unwanted = self.flowers.approved("不发了")

    # What befalls it

    def suffer(self) -> None:
        """Everything of the plan, in an order and at moments from the seed."""
        plan: list[Callable[[], None]] = [self.kill_a_sender] * self.scale.kills
        # Mass calls are few, and soon over.
        for _ in range(self.scale.mass_kills):
            plan.insert(self.chance.randrange(max(len(plan) // 2, 1)), self.kill_a_caller)
        rest: list[Callable[[], None]] = [self.pause_one] * self.scale.pauses
        rest += [lambda code=code: self.storm(code) for code in self.scale.storms]  # type: ignore[misc]
        if self.scale.loses_servers:
            rest += [self.lose_redis, self.restart_postgres]
        self.chance.shuffle(rest)
        # Early enough that there is something to disturb.
        for deed in rest:
            plan.insert(self.chance.randrange(max(len(plan) * 2 // 3, 1)), deed)
        frozen = "SELECT count(*) FROM broadcast WHERE started_at IS NOT NULL"
        self._wait_until(lambda: self._ask(frozen) == len(self.words) + 1, "the freezing of all broadcasts")
        self._wait_for_senders("broadcast_recipient")
        self.cancel_one()
        for deed in plan:
            time.sleep(self.chance.uniform(*self.scale.every))
            self.attend()
            deed()

    def _done(self, deed: str) -> None:
        self.nemesis.deeds.append(deed)
        print(f"{time.monotonic() - self.began:6.1f} s {deed}", flush=True)

    def kill_a_sender(self) -> None:
        """One that has customer-service messages on their way."""
        self._kill("broadcast_recipient", ["horse", "both", "horse", "both", "parent"])

    def kill_a_caller(self) -> None:
        """One that is in a mass call."""
        self._kill("send_batch", ["horse", "both"])

    def _kill(self, table: str, ways: Sequence[str]) -> None:
        way = self.chance.choice(ways)
        if not (owners := self._wait_for_senders(table)):
            return
        owner = self.chance.choice(owners)
        pid = _pid(owner)
        program = next((one for one in self._senders() if pid in {child.pid for child in one.descendants}), None)
        if program is not None and way != "horse":
            program.process.kill()
            program.process.wait()
        if way != "parent" or program is None:
            with contextlib.suppress(psutil.Error):
                kill(psutil.Process(pid))
            wait_until(lambda: not is_alive(pid), what=f"the end of {pid}")
        held = {
            name: int(self._ask(f"SELECT count(*) FROM {name} WHERE state = 'calling' AND owner = :owner", owner=owner))
            for name in ("broadcast_recipient", "send_batch")
        }
        if program is not None and way != "horse":
            program.start()
        self.kills.append(Kill(way, held["broadcast_recipient"], held["send_batch"]))
        self._done(f"kill {way} in {table}")

    def _wait_for_senders(self, table: str) -> list[str]:
        """The owners of calls that are being made, as soon as there are any; nobody if all such calls are made."""
        found: list[str] = []
        route = {"broadcast_recipient": "window", "send_batch": "mass"}[table]
        open_rows = "SELECT count(*) FROM broadcast_recipient WHERE route = :route AND state IN (" + _OPEN + ")"

        def is_any() -> bool:
            self.attend()
            statement = text(f"SELECT DISTINCT owner FROM {table} WHERE state = 'calling' ORDER BY owner")
            with self.live.runtime.transaction(Role.PLATFORM) as session:
                found[:] = [one for one in session.scalars(statement) if is_alive(_pid(one))]
            return bool(found) or not self._ask(open_rows, route=route)

        self._wait_until(is_any, f"a call of {table}")
        return found

    def _senders(self) -> list[Program]:
        return [program for name, program in self.live.programs.items() if name.startswith("sender")]

    def storm(self, errcode: int) -> None:
        """The platform refuses everything; the account stops by itself, and a person lets it go on afterwards."""
        paths, faults = (CUSTOM, MASS), "/sandbox/faults"
        if not self._wait_for_senders("broadcast_recipient"):
            return
        rules = [{"match": {"path": path}, "next": None, "do": {"errcode": errcode}} for path in paths]
        self.live.sandbox.post(faults, mode="prepend", rules=rules)
        try:
            stopped = "SELECT count(*) FROM sending_state WHERE paused_at IS NOT NULL"
            self._wait_until(lambda: self._ask(stopped) == 1, f"a stop by {errcode}")
            since = time.time()
            time.sleep(OPERATOR_WAITS_S)
        finally:
            kept = [
                {"match": {"path": rule["path"]}, "next": rule["next"], "do": rule["do"]}
                for rule in self.live.sandbox.get(faults)["rules"]
                if "errcode" not in rule["do"]
            ]
            self.live.sandbox.post(faults, mode="replace", rules=kept)
        self.halts.append(Halt(None, since, time.time()))
        self._done(f"storm of {errcode}")
        self._let_go_on()

    def pause_one(self) -> None:
        """The merchant says stop, and a little later go on."""
        running = text("""
            SELECT b.id, w.text FROM broadcast b JOIN broadcast_words w ON w.broadcast_id = b.id
            WHERE b.state = 'running' ORDER BY b.id""")
        with self.live.runtime.transaction(Role.PLATFORM) as session:
            found = session.execute(running).all()
        if not found:
            return
        broadcast = self.chance.choice(found)
        with self.live.runtime.transaction(Role.PLATFORM) as session:
            control.pause(session, broadcast.id, by="merchant")
        since = time.time()
        time.sleep(OPERATOR_WAITS_S)
        self.halts.append(Halt(broadcast.text, since, time.time()))
        with self.live.runtime.transaction(Role.PLATFORM) as session:
            control.resume(session, broadcast.id, by="merchant")
        self._done("pause")

    def cancel_one(self) -> None:
        """One broadcast ends here, for good."""
        with contextlib.suppress(control.WrongState):
            with self.live.runtime.transaction(Role.PLATFORM) as session:
                control.cancel(session, self.unwanted)
            self.halts.append(Halt("不发了", time.time(), float("inf")))
            self._done("cancel")

    def lose_redis(self) -> None:
        lose_valkey(self.live.folder)
        self._done("redis wiped")

    def restart_postgres(self) -> None:
        kill(postmaster(self.live.folder), signal.SIGQUIT)
        time.sleep(0.5)
        self._wait_until(self._database_answers, "the database")
        self._done("postgres restarted")

    def _database_answers(self) -> bool:
        with contextlib.suppress(SQLAlchemyError):
            return self._ask("SELECT 1") == 1
        return False

    # What people and time do about it

    def attend(self) -> None:
        """What ended is started again, as `quanma run` does; the operator looks whether all is stopped."""
        for program in self.live.programs.values():
            if program.process.poll() is not None:
                program.start()
        if self._ask("SELECT count(*) FROM sending_state WHERE paused_at IS NOT NULL"):
            self._let_go_on()
        if self.scale.is_hurried:
            self._hurry()

    def _let_go_on(self) -> None:
        with self.live.runtime.transaction(Role.PLATFORM) as session:
            control.resume_account(session)

    def _hurry(self) -> None:
        """The minutes that would have to pass."""
        owners = text("""
            SELECT owner FROM broadcast_recipient WHERE state IN ('claimed', 'calling') UNION
            SELECT owner FROM send_batch WHERE state IN ('claimed', 'calling') OR state = 'unknown'""")
        with self.live.runtime.transaction(Role.PLATFORM) as session:
            dead = [one for one in session.scalars(owners) if one and not is_alive(_pid(one))]
        for table in ("broadcast_recipient", "send_batch"):
            self._change(
                f"UPDATE {table} SET lease_until = clock_timestamp() WHERE owner = ANY(:dead)"
                " AND lease_until > clock_timestamp() AND state IN ('claimed', 'calling', 'unknown')",
                dead=dead,
            )
        self._change(
            "UPDATE send_batch SET not_before = clock_timestamp()"
            " WHERE state = 'planned' AND not_before > clock_timestamp()"
        )
        waiting = self._change("""
            UPDATE send_batch SET not_before = clock_timestamp()
            WHERE state = 'unknown' AND not_before > clock_timestamp()
              AND coalesce(lease_until <= clock_timestamp(), true)""")
        if waiting:
            minute = timedelta(seconds=61)
            advance(self.live.runtime, minute)
            self.live.sandbox.post("/sandbox/clock", advance_seconds=minute.total_seconds())

    def rest(self) -> None:
        """No more harm: everything comes to its end, lost answers are asked for, and calls under way arrive."""
        open_work = """
            SELECT (SELECT count(*) FROM broadcast WHERE finished_at IS NULL)
                 + (SELECT count(*) FROM send_batch WHERE state IN ('planned', 'claimed', 'calling', 'unknown'))"""

        def is_done() -> bool:
            self.attend()
            time.sleep(0.2)
            return not self._ask(open_work)

        self._wait_until(is_done, "the end of all broadcasts")
        time.sleep(max(self.scale.window_ms, self.scale.mass_ms) / 1000 + 0.5)
        self.lasted = time.monotonic() - self.began

    def _wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        try:
            wait_until(is_so, seconds=self.scale.patience_s, what=what)
        except AssertionError:
            self._tell_where_it_hangs()
            raise

    def _tell_where_it_hangs(self) -> None:
        for statement in (
            "SELECT b.id, b.state, r.route, r.state, count(*) FROM broadcast b"
            " JOIN broadcast_recipient r ON r.broadcast_id = b.id GROUP BY 1, 2, 3, 4 ORDER BY 1, 3, 4",
            "SELECT id, state, attempt, owner, lease_until - clock_timestamp(), not_before - clock_timestamp(), errcode"
            " FROM send_batch WHERE state NOT IN ('accepted', 'cancelled')",
            "SELECT * FROM sending_state",
            "SELECT * FROM account_day_quota",
        ):
            with self.live.runtime.transaction(Role.PLATFORM) as session:
                print(*session.execute(text(statement)), sep="\n")
        for name, program in self.live.programs.items():
            print(f"---- {name}\n{program.log.read_text(errors='replace')[-1500:]}")

    # What is said of it

    def judged(self, *, never_seen: int | None = None) -> list[str]:
        """Everything that is wrong once all has come to rest. A run without faults or accepted calls proves nothing."""
        log = log_of(self.live.sandbox)
        self.calls, self.rows = calls_of(log), rows_of(self.live.runtime)
        self.tell()
        assert self.kills, "nothing was killed in this run"
        assert any(call.is_accepted for call in self.calls), "nothing was accepted in this run"
        found = violations(self.live.runtime.database)
        evidence = Evidence(self.calls, self.rows, self.halts, left_out(log))
        return judge(evidence, never_seen=never_seen) + [f"check {name}: {found[name]}" for name in found]

    @property
    def deeds(self) -> set[str]:
        """What was done to it."""
        return set(self.nemesis.deeds)

    def deaths(self, held: str) -> int:
        """How many died with calls of this kind under way; a worker whose horse lives on is not among them."""
        return sum(one.way != "parent" and getattr(one, held) > 0 for one in self.kills)

    def tell(self) -> None:
        """The figures of the run."""
        print(f"{self.scale.recipients} recipients in {self.lasted:.0f} s, {pace(self.calls):.0f}/s accepted")
        print(f"{len(self.kills)} SIGKILLs {Counter(one.way for one in self.kills)}:")
        print(f"{self.deaths('windows')} amid customer-service messages, {self.deaths('batches')} amid a mass call")
        print(f"others: {Counter(deed for deed in self.nemesis.deeds if not deed.startswith('kill'))}")
        print(f"calls: {Counter((call.path, call.is_accepted) for call in self.calls)}")
        print(f"rows: {Counter((row.route, row.state) for row in self.rows)}")
        print(f"unknown here, there: {unknown(self.calls, self.rows)}", flush=True)

    def _ask(self, statement: str, **given: object) -> int:
        with self.live.runtime.transaction(Role.PLATFORM) as session:
            return int(session.execute(text(statement), given).scalar_one())

    def _change(self, statement: str, **given: object) -> int:
        with self.live.runtime.transaction(Role.PLATFORM) as session:
            return int(session.execute(text(statement), given).rowcount)  # type: ignore[attr-defined]


def _pid(owner: str) -> int:
    """A sender's name says which process it is."""
    return int(owner.split(":")[-2])


def is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False
