"""`quanma check`: are all promises kept?"""

import json
import sys

import click

from core import checks
from core.database import Role
from web.commands.desk import open_runtime

LONG_S = 600


@click.command()
@click.option("--json", "as_json", is_flag=True, help="输出一个 JSON 文档。")
def check(as_json: bool) -> None:
    """核对 checks/ 里的每一条承诺；有任何一行不合就退出 1。"""
    with (
        open_runtime() as runtime,
        runtime.transaction(Role.PLATFORM, statement_timeout_s=LONG_S) as session,
    ):
        findings = checks.run(session)
    broken = [finding for finding in findings if finding.rows]
    if as_json:
        click.echo(json.dumps({"checks": [{"name": finding.name, "rows": finding.rows} for finding in findings]}))
    else:
        for finding in broken:
            click.echo(f"✗ {finding.name}：{finding.rows} 行，例如 {finding.examples[0]}")
        click.echo(f"核对了 {len(findings)} 条承诺，" + (f"{len(broken)} 条不合。" if broken else "全部成立。"))
    sys.exit(1 if broken else 0)
