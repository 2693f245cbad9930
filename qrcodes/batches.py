"""Codes by the hundred: a list somebody brings is checked whole, then made whole, and packed for whoever prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZipFile

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core import long_jobs
from core.errors import BusinessError, Invalid, NotFound
from core.long_jobs import Progress, RunningJob, Work
from core.runtime import Runtime
from core.sheets import Cell, Sheet, csv_text
from merchants.models import Merchant, MerchantState
from qrcodes import codes, images, jobs
from qrcodes.codes import Wanted, checked_batch
from qrcodes.models import CodeBatch, CodeKind, CodeState, SubQrCode
from wechat.patience import waiting_out_limits

MAKE: Final = "code_batch"
"""The kind of long job that makes a batch and packs it."""
MOST_ROWS: Final = 2_000
PNG_PIXELS: Final = 1_200
CALLS_AT_ONCE: Final = 8
"""A call is mostly waiting; each also needs a connection to the database for a moment."""
MAKER_FIRST: Final = timedelta(minutes=15)
"""How long the outbox leaves the new codes to the job; whatever the job does not make, it makes after that."""

LABEL, KIND, PLACE, GROUP, COPIES, COST, DAYS, GOAL, MERCHANT = (
    "名称", "用途", "位置", "分组", "份数", "成本(元)", "有效天数", "每日目标", "商户",
)  # fmt: skip
COLUMNS: Final = (LABEL, KIND, PLACE, GROUP, COPIES, COST, DAYS, GOAL)
EXAMPLES: Final = (
    ("收银台", "柜台", "进门左手", "店内", "1", "12.5", "", ""),
    ("3 号桌", "桌台", "窗边", "店内", "1", "8", "", ""),
    ("东门电梯", "电梯", "1 单元", "东门", "4", "320", "", ""),
    ("地推小王", "推广员", "东门", "地推", "", "", "", "8"),
    ("周末活动", "线上", "", "活动", "", "", "7", ""),
)
TEMPORARY_FOLDER: Final = "临时码（会过期，不要印刷）"
LIST_NAME: Final = "清单.csv"
LIST_HEADS: Final = (LABEL, MERCHANT, PLACE, GROUP, "到期", "文件")
_UNFIT_FOR_NAMES: Final = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')


@dataclass(frozen=True)
class Line:
    """One line of a list: what was typed, and what is wrong with it if anything is."""

    number: int
    cells: Mapping[str, str]
    merchant_id: int | None = None
    wanted: Wanted | None = None
    faults: list[Invalid] = field(default_factory=list)


@dataclass(frozen=True)
class Checked:
    """A list after a look at every line."""

    columns: Sequence[str]
    lines: list[Line]

    @property
    def faulty(self) -> list[Line]:
        return [line for line in self.lines if line.faults]

    @property
    def wishes(self) -> list[tuple[int, Wanted]]:
        """A (merchant, wish) for each line, where nothing is wrong."""
        return [(line.merchant_id, line.wanted) for line in self.lines if line.merchant_id and line.wanted]


class NothingToMake(BusinessError):
    code = "nothing_to_make"
    message = "这一批已经没有在用的码了。"


def check(
    session: Session,
    sheet: Sheet,
    *,
    kinds: Mapping[str, CodeKind],
    merchant_id: int | None,
    account_id: int,
    now: datetime,
) -> Checked:
    """Look at every line of a list for one merchant, or, without one, for the merchants that its lines name.

    `kinds` says what people call the kinds. Raises `Invalid` where the table as a whole is not one.
    """
    columns = _columns(sheet.heads, with_merchant=merchant_id is None)
    names = _merchants(session, account_id) if merchant_id is None else {}
    lines = [
        _line(number, dict(zip(columns, cells, strict=False)), len(cells) - len(columns), kinds, merchant_id, names)
        for number, cells in sheet.rows
    ]
    _find_doubles(session, lines, now)
    return Checked(columns, lines)


def _columns(heads: Sequence[str], *, with_merchant: bool) -> list[str]:
    """The heads by our names, whichever brackets and spaces they were typed with."""
    ours = (*COLUMNS, MERCHANT) if with_merchant else COLUMNS
    known = {_bare(name): name for name in ours} | {"成本": COST}
    columns = []
    for head in heads:
        if _bare(head) not in known:
            raise Invalid("不认识的列“%(head)s”。请用模板里的列名。", field="file", head=head)
        columns.append(known[_bare(head)])
    for needed in (LABEL, MERCHANT) if with_merchant else (LABEL,):
        if needed not in columns:
            raise Invalid("缺少“%(head)s”这一列。第一行应当是表头。", field="file", head=needed)
    if len(set(columns)) != len(columns):
        raise Invalid("表头里有重复的列名。", field="file")
    return columns


def _bare(head: str) -> str:
    return head.replace("（", "(").replace("）", ")").replace(" ", "").replace("*", "")


def _merchants(session: Session, account_id: int) -> dict[str, list[int]]:
    """Open merchants by name and by number."""
    open_ones = select(Merchant.id, Merchant.name).where(
        Merchant.account_id == account_id, Merchant.state == MerchantState.ACTIVE
    )
    found: dict[str, list[int]] = {}
    for merchant_id, name in session.execute(open_ones):
        found.setdefault(name, []).append(merchant_id)
        found.setdefault(str(merchant_id), []).append(merchant_id)
    return found


def _line(
    number: int,
    cells: dict[str, str],
    surplus: int,
    kinds: Mapping[str, CodeKind],
    merchant_id: int | None,
    names: Mapping[str, list[int]],
) -> Line:
    faults: list[Invalid] = []
    if surplus > 0:
        faults.append(Invalid("这一行比表头多了几格。"))

    def read(parse: Callable[[str], Any], column: str) -> Any:
        try:
            return parse(cells.get(column, ""))
        except Invalid as fault:
            faults.append(fault)
            return None

    if merchant_id is None:
        merchant_id = read(lambda name: _merchant(names, name), MERCHANT)
    kind = read(lambda name: _kind(kinds, name), KIND)
    copies = read(_count, COPIES)
    daily_goal = read(_goal, GOAL)
    cost_fen = read(_fen, COST)
    days = read(_days, DAYS)
    wanted = None
    if not faults:
        label, place, group = (cells.get(column, "") for column in (LABEL, PLACE, GROUP))
        try:
            wanted = Wanted(
                label, kind, place, days, group=group, copies=copies, cost_fen=cost_fen, daily_goal=daily_goal
            ).checked()
        except Invalid as fault:
            faults.append(fault)
    return Line(number, cells, merchant_id, wanted, faults)


def _merchant(names: Mapping[str, list[int]], name: str) -> int:
    found = names.get(name, [])
    if len(found) != 1:
        sentence = "有几家商户叫“%(name)s”，请填编号。" if found else "没有“%(name)s”这家商户。"
        raise Invalid(sentence, name=name[:30])
    return found[0]


def _kind(kinds: Mapping[str, CodeKind], name: str) -> CodeKind:
    if not name:
        return CodeKind.COUNTER
    if name not in kinds:
        raise Invalid("没有“%(name)s”这种用途。可以填：%(names)s。", name=name[:30], names="、".join(kinds))
    return kinds[name]


def _count(typed: str) -> int:
    if not typed:
        return 0
    if not (typed.isascii() and typed.isdecimal()) or int(typed[:10]) > codes.MOST_COPIES:
        raise Invalid("份数应当是整数。")
    return int(typed)


def _goal(typed: str) -> int:
    if not typed:
        return 0
    if not (typed.isascii() and typed.isdecimal()) or int(typed[:10]) > codes.MOST_A_DAY:
        raise Invalid("每日目标应当是整数，最多 %(most)s。", most=codes.MOST_A_DAY)
    return int(typed)


def _fen(typed: str) -> int:
    if not typed:
        return 0
    try:
        amount = Decimal(typed) * 100
    except InvalidOperation:
        raise Invalid("成本应当是一个数，单位是元。") from None
    if not amount.is_finite() or amount != int(amount) or not 0 <= amount <= codes.MOST_FEN:
        raise Invalid("成本应当是一个数，单位是元，最多两位小数。")
    return int(amount)


def _days(typed: str) -> int | None:
    if not typed:
        return None
    if not (typed.isascii() and typed.isdecimal()):
        raise Invalid("有效天数应当是整数，不填就是永久码。")
    return int(typed[:4])


def _find_doubles(session: Session, lines: Sequence[Line], now: datetime) -> None:
    """A merchant has a name once, in this list and among its living codes."""
    first: dict[tuple[int, str], int] = {}
    for line in lines:
        if line.wanted is None or line.merchant_id is None:
            continue
        known = first.setdefault((line.merchant_id, line.wanted.label), line.number)
        if known != line.number:
            line.faults.append(Invalid("和第 %(line)s 行重名。", line=known))
    wishes = [(line.merchant_id, line.wanted) for line in lines if line.merchant_id and line.wanted]
    taken = codes.taken_labels(session, wishes, now) if wishes else set()
    for line in lines:
        if line.wanted is not None and (line.merchant_id, line.wanted.label) in taken:
            line.faults.append(Invalid("已经有一个同名的二维码，请换个名称。"))


def keep(
    session: Session,
    checked: Checked,
    *,
    name: str,
    account_id: int,
    merchant_id: int | None,
    created_by: int,
    now: datetime,
) -> int:
    """Keep a list in which nothing is wrong until somebody says go; returns its id."""
    batch = CodeBatch(
        account_id=account_id,
        merchant_id=merchant_id,
        name=checked_batch(name) or f"{now:%m%d-%H%M}",
        rows=[{"merchant_id": whose, **_stored(wanted)} for whose, wanted in checked.wishes],
        created_by=created_by,
        created_at=now,
    )
    session.add(batch)
    session.flush()
    return batch.id


def _stored(wanted: Wanted) -> dict[str, Any]:
    return {name: value for name, value in asdict(wanted).items() if value not in (None, "", 0)}


def find(
    session: Session, *, batch_id: int, merchant_id: int | None, created_by: int, is_locked: bool = False
) -> CodeBatch:
    """A batch of this person's, locked for `start`; whoever else's it is, it looks like none."""
    of_merchant = CodeBatch.merchant_id.is_(None) if merchant_id is None else CodeBatch.merchant_id == merchant_id
    mine = select(CodeBatch).where(CodeBatch.id == batch_id, CodeBatch.created_by == created_by, of_merchant)
    batch = session.scalar(mine.with_for_update() if is_locked else mine)
    if batch is None:
        raise NotFound("没有这一批。")
    return batch


def wishes(batch: CodeBatch) -> list[tuple[int, Wanted]]:
    """What a kept list asks for."""
    return [
        (row["merchant_id"], Wanted(batch=batch.name, **{name: row[name] for name in row if name != "merchant_id"}))
        for row in batch.rows
    ]


def start(session: Session, batch: CodeBatch, *, now: datetime) -> int:
    """Make a batch, or pack it once more; returns the id of the job, the one under way where there is one.

    The caller holds the batch's row lock, so that two clicks start one job.
    """
    if batch.job_id is not None and long_jobs.is_open(session, batch.job_id):
        return batch.job_id
    batch.job_id = long_jobs.start(
        session,
        kind=MAKE,
        requested_by=batch.created_by,
        merchant_id=batch.merchant_id,
        payload={"batch_id": batch.id},
        subject=batch.name,
        total=2 * len(batch.rows),
        now=now,
    )
    return batch.job_id


def make(runtime: Runtime, job: RunningJob) -> Iterator[Progress]:
    """Plan all codes of a batch or none, ask the platform for each, and pack them. Run again it makes nothing twice."""
    name, code_ids = _plan(runtime, job)
    total = 2 * len(code_ids)
    for number, _made in enumerate(_ask(runtime, code_ids), start=1):
        yield Progress(number, total)
    with job.file(f"{name}.zip", "application/zip") as file, ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for number, _packed in enumerate(_pack(job, archive, code_ids), start=1):
            yield Progress(len(code_ids) + number, total)
    yield Progress(total, total)


def _plan(runtime: Runtime, job: RunningJob) -> tuple[str, list[int]]:
    """The batch's name and its codes, which one transaction plans, once."""
    with job.transaction() as session:
        wanted = select(CodeBatch).where(CodeBatch.id == int(job.payload["batch_id"]))
        batch = session.scalar(wanted.with_for_update())
        if batch is None:
            raise NotFound("没有这一批。")
        if batch.code_ids is None:
            code_ids = codes.add_many(
                session, account_id=batch.account_id, wanted=wishes(batch), now=runtime.now(), delay=MAKER_FIRST
            )
            mine = update(CodeBatch).where(CodeBatch.id == batch.id)
            session.execute(mine.values(code_ids=code_ids))
            return batch.name, code_ids
        return batch.name, list(batch.code_ids)


def _ask(runtime: Runtime, code_ids: Sequence[int]) -> Iterator[int]:
    """Ask the platform for each code that is still planned, several side by side; yields after each.

    Each call records its own answer, so a run that stops here leaves nothing behind but codes that are still planned:
    calls under way are seen to their end, and no other begins.
    """
    callers = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="code")
    calls = {callers.submit(jobs.make_code, runtime, code_id): code_id for code_id in code_ids}
    try:
        for call in as_completed(calls):
            with waiting_out_limits():
                call.result()
            yield calls[call]
    finally:
        callers.shutdown(cancel_futures=True)


def _pack(job: RunningJob, archive: ZipFile, code_ids: Sequence[int]) -> Iterator[int]:
    """Put every living code into the archive, and a list of all; yields after each."""
    table: list[tuple[Cell, ...]] = []
    names = _Names()
    found = _drawable(job, code_ids)
    if not found:
        raise NothingToMake
    with_folders = len({merchant for _code, merchant in found}) > 1
    for code, merchant in found:
        folder = f"{_fit(merchant)}/" if with_folders else ""
        if not code.permanent:
            folder += f"{TEMPORARY_FOLDER}/"
        name = names.new(folder + _fit(code.label))
        url = str(code.url)
        archive.writestr(f"{name}.png", images.png(url, size=PNG_PIXELS))
        if code.permanent:
            archive.writestr(f"{name}.svg", images.svg(url))
        table.append((code.label, merchant, code.place, code.group_name, code.expires_at, f"{name}.png"))
        yield code.id
    archive.writestr(LIST_NAME, "".join(csv_text(LIST_HEADS, table)))


def _drawable(job: RunningJob, code_ids: Sequence[int]) -> list[tuple[SubQrCode, str]]:
    with job.transaction() as session:
        live = select(SubQrCode, Merchant.name).join(Merchant, Merchant.id == SubQrCode.merchant_id)
        live = live.where(SubQrCode.id.in_(code_ids), SubQrCode.state == CodeState.ACTIVE, SubQrCode.url.is_not(None))
        return [(code, name) for code, name in session.execute(live.order_by(SubQrCode.id))]


def _fit(name: str) -> str:
    """A name that every system takes for a file, and that leads nowhere else."""
    return _UNFIT_FOR_NAMES.sub("_", name).strip(" .") or "_"


class _Names:
    """File names of an archive, each once."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def new(self, wanted: str) -> str:
        number, name = 2, wanted
        while name.casefold() in self._known:
            name = f"{wanted} ({number})"
            number += 1
        self._known.add(name.casefold())
        return name


WORKS: Final[Mapping[str, Work]] = {MAKE: make}
