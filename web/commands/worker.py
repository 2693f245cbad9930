"""`quanma worker`: does what the outbox of one queue owes."""

import click

from core.outbox import QUEUES


@click.command()
@click.argument("queue", type=click.Choice(QUEUES))
@click.option("--burst", is_flag=True, help="做完现有的就退出。")
def worker(queue: str, burst: bool) -> None:
    """后台任务：处理一个队列（QUEUE）。"""
    from worker import work

    work(queue, burst=burst)
