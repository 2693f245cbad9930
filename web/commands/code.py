"""`quanma code …`: sub-QR codes of a merchant."""

from datetime import timedelta

import click
from sqlalchemy.orm import Session

from core import audit
from core.database import Role
from core.errors import BusinessError
from core.outbox import LEASE
from core.runtime import Runtime
from merchants import merchants
from qrcodes import codes
from qrcodes.jobs import make_code
from qrcodes.models import CodeKind, CodeState, SubQrCode
from web.commands.desk import Answer, answers, open_runtime, sentence
from wechat.errors import WeChatError

WORKER_WAITS: timedelta = LEASE
"""How long a worker leaves a new code to the command that made it."""


class StillPlanned(BusinessError):
    """The row stands and the platform's answer is missing: the same command resumes it."""

    code = "still_planned"


def document(code: SubQrCode) -> Answer:
    """A code as `--json` shows it; ids are strings, since 2⁵³ is not enough for all of them."""
    return {
        "id": str(code.id),
        "merchant": str(code.merchant_id),
        "label": code.label,
        "kind": code.kind,
        "place": code.place,
        "scene": code.scene,
        "ticket": code.ticket,
        "url": code.url,
        "permanent": code.permanent,
        "expires_at": None if code.expires_at is None else code.expires_at.isoformat(),
        "state": code.state,
        "adopted": code.adopted,
        "public_id": code.public_id,
        "group": code.group_name,
        "batch": code.batch,
        "printed_copies": code.printed_copies,
        "cost_fen": code.cost_fen,
        "daily_goal": code.daily_goal,
        "valid_from": None if code.valid_from is None else code.valid_from.isoformat(),
        "valid_to": None if code.valid_to is None else code.valid_to.isoformat(),
    }


def line(answer: Answer) -> str:
    until = "永久" if answer["expires_at"] is None else f"到 {answer['expires_at']}"
    return f"{answer['id']}\t{answer['label']}\t{answer['state']}\t{until}\t{answer['url'] or '（无图）'}"


@click.group()
def code() -> None:
    """二维码：新建、查看、接管已印好的。"""


@code.command("add")
@click.argument("merchant")
@click.option("--label", required=True, help="名称，例如：收银台。同名的码不会重复建。")
@click.option("--kind", type=click.Choice(list(CodeKind)), default=CodeKind.COUNTER, help="用在哪一类地方。")
@click.option("--place", default="", help="位置，例如：3 号桌。")
@click.option("--temporary", "days", type=int, metavar="DAYS", help="做成临时码，有效 1 到 30 天。")
@answers(line)
def add(merchant: str, label: str, kind: str, place: str, days: int | None) -> Answer:
    """给商户（编号或名称）一个二维码。连不上平台时先记下，再执行一次即可接着办。"""
    wanted = codes.Wanted(label=label, kind=CodeKind(kind), place=place, days=days)
    with open_runtime() as runtime:
        code_id = _plan(runtime, merchant, wanted)
        try:
            make_code(runtime, code_id)
        except WeChatError as error:
            raise StillPlanned(f"二维码已记下但还没有生成，同一条命令再执行一次即可。{sentence(error)}") from None
        with runtime.transaction(Role.PLATFORM) as session:
            return document(session.get_one(SubQrCode, code_id))


def _plan(runtime: Runtime, merchant: str, wanted: codes.Wanted) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        account_id = merchants.ensure_account(session, runtime.settings)
        merchant_id = merchants.find(session, account_id=account_id, wanted=merchant).id
        planned = codes.add(session, merchant_id=merchant_id, wanted=wanted, now=runtime.now(), delay=WORKER_WAITS)
        if planned.state == CodeState.PLANNED:
            _record(session, "code.add", planned)
        return planned.id


def _record(session: Session, action: str, code: SubQrCode) -> None:
    audit.record(session, actor_kind="operator", action=action, subject=f"code:{code.id}", merchant_id=code.merchant_id)


@code.command("list")
@click.argument("merchant")
@answers(lambda answer: "\n".join(map(line, answer["codes"])) or "还没有二维码。")
def list_(merchant: str) -> Answer:
    """列出商户的全部二维码，新建的在前。"""
    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM) as session:
        account_id = merchants.ensure_account(session, runtime.settings)
        merchant_id = merchants.find(session, account_id=account_id, wanted=merchant).id
        rows: list[SubQrCode] = []
        before: int | None = None
        while page := codes.list_codes(session, merchant_id=merchant_id, before=before):
            rows += page
            before = page[-1].id
        return {"merchant": str(merchant_id), "codes": [document(row) for row in rows]}


@code.command("adopt")
@click.argument("scene")
@click.argument("merchant")
@click.option("--label", default="", help="名称；不填则用场景值。")
@answers(line)
def adopt(scene: str, merchant: str, label: str) -> Answer:
    """把以前印好的场景值（SCENE）归到商户名下，从现在起计数。"""
    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM) as session:
        account_id = merchants.ensure_account(session, runtime.settings)
        merchant_id = merchants.find(session, account_id=account_id, wanted=merchant).id
        adopted = codes.adopt(session, merchant_id=merchant_id, scene=scene, label=label, now=runtime.now())
        _record(session, "code.adopt", adopted)
        return document(adopted)
