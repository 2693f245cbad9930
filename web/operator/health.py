"""账号体检: the account's facts, and a self-test line by line, each with what to do about it.

Every line is asked for by itself and outside the request's transaction, so that a slow platform holds no connection
and what is known already is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import structlog
from flask import Blueprint, g, render_template
from flask_babel import format_timedelta
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from rq.worker import BaseWorker, Worker
from sqlalchemy import func, select

from bot.queries import last_received_at
from core import audit, migrate
from core.bell import connect
from core.clock import business_day, start_of_day
from core.database import Role
from core.errors import NotFound
from core.models import AuditLog
from core.outbox import QUEUES
from core.queries import outbox_counts, scheduler_is_alive
from core.runtime import Runtime
from merchants.merchants import ensure_account
from merchants.models import OfficialAccount
from qrcodes.queries import planned_since, pool
from web.auth.access import drop_request, operator_required
from web.context import current_runtime
from web.formats import number
from web.operator.desk import account
from web.operator.words import advice_for, word
from wechat import health
from wechat.errors import WeChatError
from wechat.limits import CODES_PER_DAY

log = structlog.get_logger(__name__)
blueprint = Blueprint("health", __name__, url_prefix="/health")

QUIET = timedelta(hours=24)
RECONCILED_WITHIN = timedelta(hours=26)
BACKLOG = timedelta(minutes=10)
HEARTBEAT = timedelta(minutes=2)
NEARLY = 0.9
"""How full a quota is when the operator is told (QR-6)."""


@dataclass(frozen=True)
class Finding:
    """What one line of the self-test found; `advice` says what to do if it is not good."""

    tone: Literal["good", "wait", "bad"]
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Line:
    """One line of the self-test."""

    name: str
    label: Any
    test: Callable[[Runtime], Finding]
    calls_platform: bool = False


@blueprint.get("")
@operator_required
def index() -> str:
    """The account's facts and the lines; our own ones answer at once, the platform's when the button is pressed."""
    settings = current_runtime().settings
    return render_template(
        "operator/health.html",
        account=account(),
        settings=settings,
        token=health.token_facts(g.session, settings.wechat_app_id),
        lines=[(line, None) for line in LINES.values()],
        callback_url=f"{settings.public_url}/wechat/callback",
    )


@blueprint.get("/lines/<name>")
@operator_required
def look(name: str) -> str:
    """One of our own lines, read anew."""
    return _line(name, calls_platform=False)


@blueprint.post("/lines/<name>")
@operator_required
def ask(name: str) -> str:
    """One of the lines that ask the platform."""
    page = _line(name, calls_platform=True)
    with current_runtime().transaction(Role.PLATFORM) as session:
        audit.record(session, actor_kind="operator", actor_id=g.staff.id, action="health.check", subject=f"line:{name}")
    return page


def _line(name: str, *, calls_platform: bool) -> str:
    line = LINES.get(name)
    if line is None or line.calls_platform is not calls_platform:
        raise NotFound
    drop_request()
    return render_template("operator/_health_line.html", line=line, finding=_find(line))


def _find(line: Line) -> Finding:
    """Whatever goes wrong while looking is itself what was found; its words are ours, never a library's (AU-6)."""
    try:
        return line.test(current_runtime())
    except WeChatError as error:
        return Finding("bad", _("微信没有答应"), advice_for(error))
    except Exception as error:
        log.warning("self-test failed", line=line.name, error=type(error).__name__)
        return Finding("bad", _("连不上"), _("请检查这一项的服务是否在运行；系统日志里有详情。"))


def _database(runtime: Runtime) -> Finding:
    with runtime.database.engine(Role.PLATFORM).connect() as connection:
        is_current = migrate.current(connection) == migrate.head()
    if not is_current:
        return Finding("bad", _("表结构不是最新的"), _("请执行 quanma migrate。"))
    return Finding("good", _("连接正常，表结构是最新的"))


def _redis(runtime: Runtime) -> Finding:
    with connect(runtime.redis_url) as client:
        client.ping()
    return Finding("good", _("连接正常"))


def _workers(runtime: Runtime) -> Finding:
    with runtime.transaction(Role.PLATFORM) as session:
        moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    with connect(runtime.redis_url) as client:
        alive = [one for one in Worker.all(connection=client) if moment - _heartbeat(one, moment) <= HEARTBEAT]
    served = {name for one in alive for name in one.queue_names()}
    missing = [word(name, "queue") for name in QUEUES if name not in served]
    if missing:
        return Finding(
            "bad",
            _("没有进程在办：%(queues)s队列", queues=_("、").join(missing)),
            _("请启动 quanma worker。任务不会丢，启动后会接着办。"),
        )
    return Finding("good", _("%(count)s 个工作进程在值班", count=len(alive)))


def _heartbeat(worker: BaseWorker, moment: datetime) -> datetime:
    beat: datetime | None = worker.last_heartbeat
    if beat is None:
        return moment - 2 * HEARTBEAT
    return beat if beat.tzinfo else beat.replace(tzinfo=moment.tzinfo)


def _scheduler(runtime: Runtime) -> Finding:
    with runtime.transaction(Role.PLATFORM) as session:
        is_alive = scheduler_is_alive(session)
    if is_alive:
        return Finding("good", _("在值班"))
    return Finding("bad", _("没有在运行"), _("请启动 quanma scheduler，否则对账、清理和重试都会停下。"))


def _outbox(runtime: Runtime) -> Finding:
    with runtime.transaction(Role.PLATFORM) as session:
        counts = outbox_counts(session)
    dead = sum(one.tasks for one in counts if one.state == "dead")
    waiting = [one for one in counts if one.state == "pending"]
    late = [one.oldest for one in waiting if one.oldest > BACKLOG]
    if late:
        age = format_timedelta(max(late))
        return Finding("bad", _("最早的任务等了 %(age)s", age=age), _("请到“死信与发件箱”看上次的结果。"))
    if dead:
        return Finding("wait", _("有 %(count)s 项任务放弃了", count=dead), _("请到“死信与发件箱”处理。"))
    return Finding("good", _("待办 %(count)s 项，没有积压", count=sum(one.tasks for one in waiting)))


def _codes(runtime: Runtime) -> Finding:
    with runtime.transaction(Role.PLATFORM) as session:
        account_id = ensure_account(session, runtime.settings)
        filled = pool(session, account_id=account_id, now=runtime.now())
        since = start_of_day(business_day(runtime.now()))
        today = planned_since(session, account_id=account_id, since=since)
    text = _(
        "永久码用了 %(used)s / %(capacity)s，今天新建 %(today)s 个",
        used=number(filled.used),
        capacity=number(filled.capacity),
        today=number(today),
    )
    if filled.used >= filled.capacity * NEARLY:
        return Finding("bad", text, _("永久码快用完了：不急着印的，请改用临时码。"))
    if today >= CODES_PER_DAY * NEARLY:
        return Finding("bad", text, _("今天建码的次数快用完了，剩下的请明天再建。"))
    return Finding("good", text)


def _events(runtime: Runtime) -> Finding:
    with runtime.transaction(Role.PLATFORM) as session:
        last = last_received_at(session)
    if last is None:
        return Finding("wait", _("还没有收到过"), _("请核对公众平台里的服务器地址，然后用手机扫一个码试试。"))
    age = runtime.now() - last
    words = _("最近一次在 %(age)s前", age=format_timedelta(age))
    if age > QUIET:
        return Finding("wait", words, _("一天都没有消息，请用手机扫一个码试试；收不到就核对服务器地址。"))
    return Finding("good", words)


def _reconcile(runtime: Runtime) -> Finding:
    with runtime.transaction(Role.PLATFORM) as session:
        app_id = runtime.settings.wechat_app_id
        last = session.scalar(select(OfficialAccount.reconciled_at).where(OfficialAccount.app_id == app_id))
        stopped = session.scalar(select(func.max(AuditLog.at)).where(AuditLog.action == "reconcile.stopped"))
    if stopped is not None and (last is None or stopped > last):
        return Finding(
            "bad",
            _("停下了：名单里一下少了很多人"),
            _("先确认接的还是原来的公众号，确认无误后执行 quanma reconcile --force。"),
        )
    if last is None:
        return Finding("wait", _("还没有对过"), _("每天夜里会自动对一次，也可以现在执行 quanma reconcile。"))
    age = runtime.now() - last
    words = _("最近一次在 %(age)s前", age=format_timedelta(age))
    if age > RECONCILED_WITHIN:
        return Finding("bad", words, _("超过一天没有对账，请看调度进程和工作进程是否在运行。"))
    return Finding("good", words)


def _token(runtime: Runtime) -> Finding:
    health.obtain_token(runtime.settings, runtime.database)
    with runtime.transaction(Role.PLATFORM) as session:
        facts = health.token_facts(session, runtime.settings.wechat_app_id)
    if facts is not None and facts.forced_today:
        return Finding(
            "wait",
            _("可用，但今天强制换过 %(count)s 次", count=facts.forced_today),
            _("很可能还有别的系统在用同一个公众号，请停用它或换成同一个凭证来源。"),
        )
    return Finding("good", _("可用"))


def _addresses(runtime: Runtime) -> Finding:
    count = health.platform_addresses(runtime.settings, runtime.database)
    return Finding("good", _("微信认我们的凭证和 IP，推送来自 %(count)s 个地址", count=count))


def _callback(runtime: Runtime) -> Finding:
    check = health.reach_callback(runtime.settings, runtime.database)
    if not check.addresses:
        return Finding("bad", _("微信解析不了我们的域名"), _("请检查域名和 DNS。"))
    if not health.is_reachable(check):
        return Finding("bad", _("微信连不到我们的服务器"), _("请检查防火墙和 PUBLIC_URL，80 或 443 端口要对外开放。"))
    return Finding("good", _("微信能连到：%(addresses)s", addresses=_("、").join(check.addresses[:3])))


_ALL = (
    Line("database", _l("数据库"), _database),
    Line("redis", _l("Redis"), _redis),
    Line("workers", _l("工作进程"), _workers),
    Line("scheduler", _l("调度进程"), _scheduler),
    Line("outbox", _l("发件箱"), _outbox),
    Line("codes", _l("二维码的额度"), _codes),
    Line("events", _l("微信的推送"), _events),
    Line("reconcile", _l("与微信对账"), _reconcile),
    Line("token", _l("接口凭证"), _token, calls_platform=True),
    Line("addresses", _l("IP 白名单"), _addresses, calls_platform=True),
    Line("callback", _l("服务器地址"), _callback, calls_platform=True),
)
LINES = {line.name: line for line in _ALL}
