"""`quanma traffic`: who brings whom."""

import contextlib
from datetime import date, datetime

import click

from core.clock import business_day
from core.database import Role
from core.errors import Invalid
from qrcodes import rollups
from qrcodes import traffic as counts
from web.commands.desk import Answer, answers, open_runtime


def _lines(answer: Answer) -> str:
    lines = [f"{answer['since']} 到 {answer['until']}", "商户\t扫码\t人数\t新关注\t回归\t取关\t净增"]
    nobody = {"name": "（不属于任何商户）", **answer["unattributed"]}
    for one in [*answer["merchants"], nobody]:
        figures = (one[key] for key in ("scans", "scanners", "new", "returning", "lost", "net"))
        lines.append("\t".join([one["name"], *map(str, figures)]))
    return "\n".join(lines)


@click.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="第一天（含），上海日期；默认从有数据的第一天起。")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="最后一天（含）；默认今天。")
@answers(_lines)
def traffic(since: datetime | None, until: datetime | None) -> Answer:
    """每家商户的扫码、新关注、回归、取关与净增。"""
    with contextlib.ExitStack() as stack:
        runtime = stack.enter_context(open_runtime())
        rollups.catch_up(runtime)
        session = stack.enter_context(runtime.transaction(Role.PLATFORM, statement_timeout_s=60))
        # What came in since: the answer is exact.
        rollups.count_all(session)
        now = runtime.now()
        last: date = business_day(now) if until is None else until.date()
        first = min(counts.first_day(session, now), last) if since is None else since.date()
        if first > last:
            raise Invalid("开始日期不能晚于结束日期。")
        span = counts.Range(first, last)
        merchants, nobody = counts.by_merchant(session, span)
    return {
        "since": first.isoformat(),
        "until": last.isoformat(),
        "merchants": [{"id": str(one.merchant_id), "name": one.name, **one.counts.as_json()} for one in merchants],
        "unattributed": nobody.as_json(),
    }
