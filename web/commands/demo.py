"""`quanma demo seed`: the demo community, for a sandbox only."""

from dataclasses import asdict

import click

from web.commands.desk import Answer, answers, open_runtime


def line(answer: Answer) -> str:
    if not answer["seeded"]:
        return "演示社区已经在了，或者这里已有别的商户：什么都没有改。"
    return (
        f"演示社区准备好了：{answer['merchants']} 家商户、{answer['codes']} 张二维码、"
        f"{answer['people']} 位居民、{answer['events']} 件往事。"
    )


@click.group(hidden=True)
def demo() -> None:
    """演示社区，只用于沙盒。"""


@demo.command()
@answers(line)
def seed() -> Answer:
    """让演示社区在沙盒里住下，带五周的往事；被打断了再执行一次即可。"""
    from web.demo.seed import seed as live_here

    with open_runtime() as runtime:
        report = live_here(runtime, lambda words: click.echo(f"  {words}", err=True))
    return {"seeded": False} if report is None else {"seeded": True, **asdict(report)}
