"""`quanma fans`: a merchant's fan list."""

import click

from core.database import Role
from merchants import merchants
from qrcodes import fans as fan_list
from web.commands.desk import Answer, answers, open_runtime


def _lines(answer: Answer) -> str:
    head = f"{answer['name']}：粉丝 {answer['total']} 人，其中 {answer['following']} 人正在关注"
    rows = [
        f"{fan['number']}\t{'关注中' if fan['following'] else '已取关'}\t{'本店带来' if fan['acquired'] else ''}"
        f"\t{fan['first_code_label'] or ''}\t{fan['last_seen_at']}"
        for fan in answer["fans"]
    ]
    return "\n".join([head, *rows])


@click.command()
@click.argument("merchant")
@answers(_lines)
def fans(merchant: str) -> Answer:
    """商户（编号或名称）的粉丝名单，最近来过的在前。"""
    with open_runtime() as runtime, runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
        account_id = merchants.ensure_account(session, runtime.settings)
        found = merchants.find(session, account_id=account_id, wanted=merchant)
        counts = fan_list.counts(session, found.id)
        return {
            "merchant": str(found.id),
            "name": found.name,
            "total": counts.total,
            "following": counts.following,
            "fans": [
                {
                    "number": fan.number,
                    "following": fan.following,
                    "acquired": fan.acquired,
                    "first_code": None if fan.first_code_id is None else str(fan.first_code_id),
                    "first_code_label": fan.first_code,
                    "last_code": None if fan.last_code_id is None else str(fan.last_code_id),
                    "last_code_label": fan.last_code,
                    "first_seen_at": fan.first_seen_at.isoformat(),
                    "last_seen_at": fan.last_seen_at.isoformat(),
                    "tags": fan.tags,
                }
                for fan in fan_list.everybody(session, found.id)
            ],
        }
