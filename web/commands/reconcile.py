"""`quanma reconcile`: compare the followers with the platform's list and repair."""

from dataclasses import asdict

import click

import bot.reconcile
from core.database import Role
from merchants import merchants
from web.commands.desk import Answer, answers, open_runtime


def line(answer: Answer) -> str:
    return (
        f"核对了 {answer['checked']} 位关注者：补记关注 {answer['followed']} 人，"
        f"其中 {answer['attributed']} 人归属到商户；补记取关 {answer['unfollowed']} 人。"
    )


@click.command()
@click.option("--force", is_flag=True, help="名单里少了很多人也照办：确认接的是原来的公众号之后才用。")
@answers(line)
def reconcile(force: bool) -> Answer:
    """和微信的关注者名单核对，补记漏掉的关注和取关。"""
    with open_runtime() as runtime:
        with runtime.transaction(Role.PLATFORM) as session:
            merchants.ensure_account(session, runtime.settings)
        return asdict(bot.reconcile.reconcile(runtime, force=force))
