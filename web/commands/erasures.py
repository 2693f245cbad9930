"""`quanma erasures …`: who was erased, kept apart from the backups, so that a restored one forgets them again."""

import json
from datetime import datetime
from typing import TextIO

import click
from sqlalchemy import text

from bot import erasers
from core.database import Role
from web.commands.desk import Answer, answers, open_runtime

LONG_S = 600


@click.group()
def erasures() -> None:
    """删除记录：导出，恢复备份后重放。"""


@erasures.command("export")
def export() -> None:
    """把删除记录逐行写到标准输出；与备份一起、但更勤地保存。"""
    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM, statement_timeout_s=LONG_S) as session:
        for at, follower_id, person_key, reason in session.execute(
            text("SELECT at, follower_id, person_key, reason FROM erasure_log ORDER BY id")
        ):
            entry = {"at": at.isoformat(), "follower_id": follower_id, "person_key": person_key.hex(), "reason": reason}
            click.echo(json.dumps(entry))


@erasures.command("replay")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@answers(lambda answer: f"读到 {answer['read']} 条，重新删除了 {answer['erased']} 人。")
def replay(file: TextIO) -> Answer:
    """对恢复的数据库重放删除记录，要在对外开放之前做；可以重复执行。"""
    entries = [json.loads(line) for line in file if line.strip()]
    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM, statement_timeout_s=LONG_S) as session:
        known = {
            (at, bytes(key)) for at, key in session.execute(text("SELECT at, person_key FROM erasure_log")).tuples()
        }
        for entry in entries:
            at, key = datetime.fromisoformat(entry["at"]), bytes.fromhex(entry["person_key"])
            if (at, key) not in known:
                session.execute(
                    text("""INSERT INTO erasure_log (at, follower_id, person_key, reason)
                            VALUES (:at, :follower_id, :person_key, :reason)"""),
                    {"at": at, "follower_id": entry["follower_id"], "person_key": key, "reason": entry["reason"]},
                )
        return {"read": len(entries), "erased": erasers.replay_erasures(session)}
