"""`quanma scheduler`: starts what happens by itself."""

import threading

import click


@click.command()
def scheduler() -> None:
    """定时任务；可以开几个，同一时刻只有一个在工作。"""
    from worker import schedule

    schedule(threading.Event())
