"""`quanma clock …`: what time it is for the business, and how a month passes in a second against a sandbox."""

import re
from datetime import datetime, timedelta
from typing import Final

import click
import requests

from core.clock import SHANGHAI, business_day
from core.database import Role
from core.errors import BusinessError, Invalid
from core.partitions import ensure_ahead, ensure_months
from core.runtime import Runtime
from web.commands.desk import Answer, answers, open_runtime

LONGEST: Final = timedelta(days=3660)


class RealClock(BusinessError):
    """The real platform's clock does not move, and ours must not part from it."""

    code = "real_clock"
    message = "接的是真实公众号，时间不能拨动。"


def document(runtime: Runtime) -> Answer:
    return {"now": runtime.now().isoformat(), "offset_seconds": round(runtime.clock.offset().total_seconds())}


def line(answer: Answer) -> str:
    local = datetime.fromisoformat(str(answer["now"])).astimezone(SHANGHAI)
    ahead = in_words(timedelta(seconds=int(str(answer["offset_seconds"]))))
    return f"现在是 {local:%Y-%m-%d %H:%M}（北京时间），{f'比真实时间快 {ahead}' if ahead else '和真实时间一样'}。"


def in_words(ahead: timedelta) -> str:
    """1 天 23 小时 30 分; nothing for no time."""
    hours, seconds = divmod(ahead.seconds, 3600)
    parts = ((ahead.days, "天"), (hours, "小时"), (seconds // 60, "分"), (seconds % 60, "秒"))
    return " ".join(f"{many} {unit}" for many, unit in parts if many)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="输出一个 JSON 文档。")
@click.pass_context
def clock(context: click.Context, as_json: bool) -> None:
    """业务时间：查看；接沙盒时还可以快进。"""
    if context.invoked_subcommand is None:
        context.invoke(show, as_json=as_json)


@clock.command()
@answers(line)
def show() -> Answer:
    """现在几点，比真实时间快多少。"""
    with open_runtime() as runtime:
        return document(runtime)


@clock.command()
@click.argument("duration", metavar="D")
@answers(line)
def advance(duration: str) -> Answer:
    """快进 D，例如 31d、2h、47h30m；沙盒的时间跟着走。"""
    with open_runtime() as runtime:
        if not runtime.settings.is_sandbox:
            raise RealClock
        offset = runtime.clock.offset() + parse(duration)
        now, then = runtime.now(), runtime.now() + parse(duration)
        with runtime.transaction(Role.PLATFORM) as session:
            ensure_months(session, business_day(now), business_day(then))
            ensure_ahead(session, business_day(then))
        runtime.clock.move(offset)
        move_sandbox(runtime.settings.wechat_api_url, offset)
        return document(runtime)


def parse(duration: str) -> timedelta:
    """31d, 2h, 90m, 45s, or several of them in that order: 47h30m."""
    found = re.fullmatch(r"(?:(\d{1,8})d)?(?:(\d{1,8})h)?(?:(\d{1,8})m)?(?:(\d{1,8})s)?", duration)
    days, hours, minutes, seconds = (int(one or 0) for one in found.groups()) if found else (0, 0, 0, 0)
    moved = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta(0) < moved <= LONGEST:
        raise Invalid("请写成 31d、2h、47h30m 或 45s 这样的时长，最多十年。", field="duration")
    return moved


def move_sandbox(url: str, offset: timedelta) -> None:
    """Let the sandbox's clock go with ours; a stand-in without a clock keeps its own time, with a word about it."""
    try:
        answer = requests.post(f"{url}/sandbox/clock", json={"offset_seconds": offset.total_seconds()}, timeout=5)
        has_moved = answer.ok
    except requests.RequestException:
        has_moved = False
    if not has_moved:
        click.echo(f"注意：{url} 没有可以拨动的时钟，它的时间没有跟着走。", err=True)
