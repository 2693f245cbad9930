"""Codes by the hundred: every line looked at, all made or none, once however often the worker dies."""

import io
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from zipfile import ZipFile

import pytest
import zxingcpp
from PIL import Image
from sqlalchemy import func, select, update

import qrcodes.jobs
from bot import retention
from core import jobs, long_jobs
from core.database import Role
from core.errors import Invalid
from core.long_jobs import Progress, RunningJob
from core.models import JobState, LongJob, Outbox
from core.outbox import SLOW, Task
from core.runtime import Runtime
from core.sheets import Sheet
from qrcodes import batches, codes
from qrcodes.batches import COLUMNS, Checked
from qrcodes.codes import PoolSpent, Wanted
from qrcodes.models import CodeBatch, CodeKind, CodeState, ScenePool, SubQrCode
from tests.community import Neighbourhood
from wechat.errors import WaitAMinute

KINDS = {"柜台": CodeKind.COUNTER, "桌台": CodeKind.TABLE, "线上": CodeKind.ONLINE}
HEADS = list(COLUMNS)
GOOD = ["3 号桌", "桌台", "窗边", "店内", "2", "12.5", ""]
STAFF = 9


@dataclass
class Desk:
    """A shop that brings lists."""

    street: Neighbourhood
    merchant_id: int

    @property
    def runtime(self) -> Runtime:
        return self.street.runtime

    def check(self, *rows: list[str], heads: list[str] = HEADS, merchant_id: int | None = None) -> Checked:
        sheet = Sheet(heads, list(enumerate(rows, start=2)))
        with self.runtime.transaction(Role.PLATFORM) as session:
            return batches.check(
                session,
                sheet,
                kinds=KINDS,
                merchant_id=merchant_id,
                account_id=self.street.account_id,
                now=self.street.now,
            )

    def faults(self, *rows: list[str]) -> dict[int, list[str]]:
        checked = self.check(*rows, merchant_id=self.merchant_id)
        return {line.number: [fault.message for fault in line.faults] for line in checked.faulty}

    def begin(self, count: int, *, days: int | None = None) -> int:
        """A batch of `count` codes, started; returns the job's id."""
        wishes = [Wanted(f"{number} 号桌", CodeKind.TABLE, days=days) for number in range(1, count + 1)]
        lines = [batches.Line(number, {}, self.merchant_id, wanted) for number, wanted in enumerate(wishes, start=2)]
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.merchant_id) as session:
            batch_id = batches.keep(
                session,
                Checked(COLUMNS, lines),
                name="春节",
                account_id=self.street.account_id,
                merchant_id=self.merchant_id,
                created_by=STAFF,
                now=self.street.now,
            )
            batch = batches.find(
                session, batch_id=batch_id, merchant_id=self.merchant_id, created_by=STAFF, is_locked=True
            )
            job_id = batches.start(session, batch, now=self.street.now)
            assert batches.start(session, batch, now=self.street.now) == job_id
            return job_id

    def work_off(self, work: long_jobs.Work = batches.make) -> LongJob:
        jobs.drain(self.runtime, {long_jobs.RUN: long_jobs.handler({batches.MAKE: work})}, SLOW)
        with self.runtime.transaction(Role.PLATFORM) as session:
            return session.execute(select(LongJob)).scalar_one()

    def archive(self, job: LongJob) -> ZipFile:
        with self.runtime.transaction(Role.PLATFORM) as session:
            content = b"".join(long_jobs.parts(session, job_id=job.id, attempt=job.attempt))
        return ZipFile(io.BytesIO(content))

    def stored(self) -> list[SubQrCode]:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return list(session.scalars(select(SubQrCode).order_by(SubQrCode.id)))


@pytest.fixture
def desk(runtime: Runtime) -> Desk:
    street = Neighbourhood(runtime)
    return Desk(street, street.merchant("茶馆"))


@pytest.fixture(autouse=True)
def _platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform answers at once."""

    def make_code(runtime: Runtime, code_id: int) -> None:
        with runtime.transaction(Role.PLATFORM) as session:
            wanted = codes.planned(session, code_id)
            if wanted is not None:
                url = f"http://weixin.qq.com/q/{wanted.scene}"
                expires_at = None if wanted.permanent else runtime.now()
                codes.record_created(session, code_id=code_id, ticket="t", url=url, expires_at=expires_at)

    monkeypatch.setattr("qrcodes.jobs.make_code", make_code)


def test_a_line_becomes_what_it_says(desk: Desk) -> None:
    checked = desk.check(GOOD, ["门口"], heads=["名 称", "用途", "位置", "分组", "份数", "成本（元）", "有效天数"],
                         merchant_id=desk.merchant_id)  # fmt: skip
    assert checked.faulty == []
    table = Wanted("3 号桌", CodeKind.TABLE, "窗边", group="店内", copies=2, cost_fen=1250)
    assert checked.wishes == [(desk.merchant_id, table), (desk.merchant_id, Wanted("门口"))]


BAD_CELLS: dict[str, tuple[list[str], str]] = {
    "no name": (["", "桌台"], "请填写"),
    "a long name": (["长" * 31], "最多 30 个字"),
    "forbidden words": (["关注送豆浆"], "不能这样写"),
    "an unknown kind": (["桌", "火箭"], "没有“火箭”这种用途"),
    "half a copy": (["桌", "", "", "", "1.5"], "份数应当是整数"),
    "minus one": (["桌", "", "", "", "-1"], "份数应当是整数"),
    "endless cost": (["桌", "", "", "", "", "Infinity"], "成本"),
    "not a cost": (["桌", "", "", "", "", "NaN"], "成本"),
    "a cost finer than a fen": (["桌", "", "", "", "", "1.005"], "成本"),
    "a cost with a sign": (["桌", "", "", "", "", "-3"], "成本"),
    "too many days": (["桌", "", "", "", "", "", "31"], "1 到 30 天"),
    "no days": (["桌", "", "", "", "", "", "0"], "1 到 30 天"),
    "a goal of halves": (["桌", "", "", "", "", "", "", "1.5"], "每日目标"),
    "too high a goal": (["桌", "", "", "", "", "", "", "10001"], "每日目标"),
    "one cell more": ([*GOOD, "8", "x"], "多了几格"),
}


def test_every_fault_is_told_at_its_line(desk: Desk) -> None:
    faults = desk.faults(GOOD, *(cells for cells, _words in BAD_CELLS.values()))
    assert list(faults) == list(range(3, 3 + len(BAD_CELLS)))
    for (what, (_cells, words)), told in zip(BAD_CELLS.items(), faults.values(), strict=True):
        assert words in told[0], what


def test_a_name_is_had_once(desk: Desk) -> None:
    desk.street.code(desk.merchant_id, "前台")
    assert desk.faults(["前台"], ["门口"], ["门口"]) == {
        2: ["已经有一个同名的二维码，请换个名称。"],
        4: ["和第 3 行重名。"],
    }


@pytest.mark.parametrize("heads", [["位置"], ["名称", "颜色"], ["名称", "商户"], ["名称", "成本", "成本(元)"]])
def test_a_table_of_something_else_is_refused(desk: Desk, heads: list[str]) -> None:
    with pytest.raises(Invalid):
        desk.check(["x"] * len(heads), heads=heads, merchant_id=desk.merchant_id)


def test_an_operators_list_names_its_merchants(desk: Desk) -> None:
    """#97: one that is not there and one that is closed read alike."""
    other, closed = desk.street.merchant("书店"), desk.street.merchant("旧店")
    with desk.runtime.transaction(Role.PLATFORM) as session:
        codes.suspend_merchant(session, merchant_id=closed, now=desk.street.now)
    rows = [["门口", "茶馆"], ["门口", str(other)], ["门口", "旧店"], ["门口", "没有"], ["门口", ""]]
    checked = desk.check(*rows, heads=["名称", "商户"])
    assert [line.merchant_id for line in checked.lines] == [desk.merchant_id, other, None, None, None]
    assert [line.faults[0].template for line in checked.faulty] == ["没有“%(name)s”这家商户。"] * 3


def test_all_are_made_counted_and_packed(desk: Desk) -> None:
    desk.begin(3)
    job = desk.work_off()
    assert (job.state, job.done, job.total, job.file_name) == (JobState.DONE, 6, 6, "春节.zip")
    stored = desk.stored()
    assert {(code.state, code.batch, code.merchant_id) for code in stored} == {("active", "春节", desk.merchant_id)}
    with desk.archive(job) as archive:
        names = [f"{number} 号桌.{form}" for number in (1, 2, 3) for form in ("png", "svg")]
        assert archive.namelist() == [*names, "清单.csv"]
        picture = Image.open(io.BytesIO(archive.read("2 号桌.png")))
        assert zxingcpp.read_barcodes(picture)[0].text == stored[1].url
        assert archive.read("清单.csv").decode("utf-8-sig").splitlines()[1].startswith("1 号桌,茶馆,")


def test_a_temporary_code_is_not_packed_for_print(desk: Desk) -> None:
    desk.begin(1, days=7)
    with desk.archive(desk.work_off()) as archive:
        assert archive.namelist() == [f"{batches.TEMPORARY_FOLDER}/1 号桌.png", "清单.csv"]


@pytest.mark.parametrize("steps", [0, 1, 3, 5])
def test_killed_anywhere_it_goes_on_and_doubles_nothing(desk: Desk, steps: int) -> None:
    desk.begin(3)

    def dying(runtime: Runtime, job: RunningJob) -> Iterator[Progress]:
        for number, progress in enumerate(batches.make(runtime, job)):
            if number == steps:
                raise ConnectionError
            yield progress

    assert desk.work_off(dying).state == JobState.PENDING
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(Outbox).values(next_try_at=func.clock_timestamp()))
    job = desk.work_off()
    assert job.state == JobState.DONE
    assert [code.label for code in desk.stored()] == ["1 号桌", "2 号桌", "3 号桌"]
    with desk.archive(job) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 7
    with desk.runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(select(ScenePool.used)).scalar_one() == 3


def test_the_platform_is_asked_for_several_codes_side_by_side(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many calls meet as may be under way at a time, and never one more."""
    make_code, together = qrcodes.jobs.make_code, threading.Barrier(batches.CALLS_AT_ONCE)
    under_way: list[int] = []
    most = 0

    def slow(runtime: Runtime, code_id: int) -> None:
        nonlocal most
        under_way.append(code_id)
        most = max(most, len(under_way))
        together.wait(timeout=20)
        make_code(runtime, code_id)
        under_way.remove(code_id)

    monkeypatch.setattr("qrcodes.jobs.make_code", slow)
    desk.begin(2 * batches.CALLS_AT_ONCE)
    assert desk.work_off().state == JobState.DONE
    assert most == batches.CALLS_AT_ONCE
    assert {code.state for code in desk.stored()} == {CodeState.ACTIVE}


def test_a_limit_of_the_platform_lets_no_further_call_begin(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    make_code = qrcodes.jobs.make_code
    asked: list[int] = []

    def limited(runtime: Runtime, code_id: int) -> None:
        asked.append(code_id)
        if len(asked) == 1:
            raise WaitAMinute("cgi-bin/qrcode/create", "too fast", errcode=45011)
        time.sleep(0.5)
        make_code(runtime, code_id)

    monkeypatch.setattr("qrcodes.jobs.make_code", limited)
    desk.begin(5 * batches.CALLS_AT_ONCE)
    assert desk.work_off().state == JobState.PENDING
    assert len(asked) <= 2 * batches.CALLS_AT_ONCE
    made = [code for code in desk.stored() if code.state == CodeState.ACTIVE]
    assert len(made) == len(asked) - 1
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(Outbox).values(next_try_at=func.clock_timestamp()))
    monkeypatch.setattr("qrcodes.jobs.make_code", make_code)
    assert desk.work_off().state == JobState.DONE
    assert {code.state for code in desk.stored()} == {CodeState.ACTIVE}


def test_all_or_none(desk: Desk) -> None:
    """A name that was taken meanwhile, or a pool that is too small, leaves nothing behind."""
    desk.begin(3)
    desk.street.code(desk.merchant_id, "2 号桌")
    job = desk.work_off()
    assert (job.state, job.error_detail) == (JobState.FAILED, {"label": "2 号桌"})
    assert len(desk.stored()) == 1
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(ScenePool).values(capacity=2))
    wanted = [(desk.merchant_id, Wanted("甲")), (desk.merchant_id, Wanted("乙"))]
    with pytest.raises(PoolSpent), desk.runtime.transaction(Role.PLATFORM) as session:
        codes.add_many(session, account_id=desk.street.account_id, wanted=wanted, now=desk.street.now)
    assert len(desk.stored()) == 1


def test_packing_again_makes_no_code(desk: Desk) -> None:
    desk.begin(2)
    desk.work_off()
    with desk.runtime.transaction(Role.PLATFORM) as session:
        batch = session.execute(select(CodeBatch)).scalar_one()
        again = batches.start(session, batch, now=desk.street.now)
        codes.retire(session, merchant_id=desk.merchant_id, code_id=desk.stored()[0].id, now=desk.street.now)
    jobs.drain(desk.runtime, {long_jobs.RUN: long_jobs.handler(batches.WORKS)}, SLOW)
    with desk.runtime.transaction(Role.PLATFORM) as session:
        job = session.execute(select(LongJob).filter_by(id=again)).scalar_one()
    with desk.archive(job) as archive:
        assert archive.namelist() == ["2 号桌.png", "2 号桌.svg", "清单.csv"]
    assert [code.state for code in desk.stored()] == [CodeState.RETIRED, CodeState.ACTIVE]


def test_a_list_nobody_said_go_to_is_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.begin(1)
    with desk.runtime.transaction(Role.PLATFORM) as session:
        kept = session.execute(select(CodeBatch)).scalar_one()
        waiting = {"account_id": kept.account_id, "name": "没点", "rows": [], "created_by": STAFF}
        session.add(CodeBatch(**waiting, created_at=desk.street.now))
    later = desk.runtime.now() + retention.LISTS_KEPT + timedelta(minutes=1)
    monkeypatch.setattr(type(desk.runtime.clock), "now", lambda _clock: later)
    retention.forget_old(desk.runtime, Task(1, retention.FORGET, {}, None, 1, 0))
    with desk.runtime.transaction(Role.PLATFORM) as session:
        assert session.scalars(select(CodeBatch.name)).all() == ["春节"]


@pytest.mark.parametrize(
    ("label", "name"), [("../../x", "_.._x"), ("a/b:c", "a_b_c"), ("..", "_"), ("=1+1", "=1+1"), ("桌.", "桌")]
)
def test_a_label_leads_nowhere_as_a_file(label: str, name: str) -> None:
    """#92."""
    fitted = batches._fit(label)
    assert fitted == name
    assert "/" not in fitted
    assert not fitted.startswith(".")


def test_two_labels_that_read_alike_are_two_files() -> None:
    names: Any = batches._Names()
    assert [names.new(name) for name in ("A", "a", "A")] == ["A", "a (2)", "A (3)"]
