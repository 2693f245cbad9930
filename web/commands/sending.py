"""Whether broadcasts are sent at all, from the command line: for who restores a backup, and for an emergency."""

import click
from sqlalchemy import text

from campaigns.broadcasts import control
from core.database import Role
from web.commands.desk import Answer, answers, open_runtime

AFTER_RESTORE = "从备份恢复：备份之后可能已经发过，核对后再继续"


def _shown(answer: Answer) -> str:
    return f"群发已暂停：{answer['reason']}" if answer["paused"] else "群发照常。"


@click.group()
def sending() -> None:
    """全号群发的总开关。"""


@sending.command("show")
@answers(_shown)
def show() -> Answer:
    """现在发不发。"""
    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM) as session:
        row = session.execute(text("SELECT paused_at, reason FROM sending_state")).one()
        return {"paused": row.paused_at is not None, "reason": row.reason}


@sending.command("pause")
@click.option("--reason", default="命令行暂停", help="给运营看的原因。")
@answers(_shown)
def pause(reason: str) -> Answer:
    """全部暂停，直到运营恢复。"""
    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM) as session:
        control.pause_account(session, reason)
    return {"paused": True, "reason": reason}


@sending.command("hold-restored")
@answers(_shown)
def hold_restored() -> Answer:
    """恢复备份后用：全部暂停，并把没发完的群发标出来；数据库已经不记得备份之后发过什么。"""
    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM) as session:
        control.pause_account(session, AFTER_RESTORE)
        control.hold_running(session, AFTER_RESTORE)
    return {"paused": True, "reason": AFTER_RESTORE}


@sending.command("resume")
@answers(_shown)
def resume() -> Answer:
    """继续发。"""
    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM) as session:
        control.resume_account(session)
    return {"paused": False, "reason": ""}
