"""The workers' wiring: which function does which kind of outbox task, and what happens by itself.

RQ only wakes a worker (`worker.drain`); what there is to do is in the outbox.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import structlog
from redis import Redis
from rq import Worker
from rq.serializers import JSONSerializer

import bot.jobs
import bot.periodic
import merchants.jobs
import qrcodes.batches
import qrcodes.handovers
import qrcodes.jobs
from campaigns.broadcasts import calls, freezing, hello, previews, sending
from campaigns.coupons import giving
from campaigns.points import proof
from campaigns.referrals import binding
from core import jobs, logging, long_jobs, metrics, outbox
from core.bell import connect, queue_named
from core.jobs import Handler
from core.long_jobs import Work
from core.runtime import Runtime
from core.scheduler import Periodic, Scheduler
from core.servers import ensure_servers
from core.settings import load_settings
from qrcodes import rules, standing
from qrcodes.posters import jobs as posters
from wechat.patience import patient

LONG_JOBS: Final[Mapping[str, Work]] = {
    rules.REPLAY: rules.replay,
    posters.PACK: posters.pack,
    **qrcodes.batches.WORKS,
}
"""What each kind of long job does; its name in `web/words.py` goes with it."""
HANDLERS: Final[Mapping[str, Handler]] = {
    **merchants.jobs.HANDLERS,
    **qrcodes.jobs.HANDLERS,
    **qrcodes.handovers.HANDLERS,
    **standing.HANDLERS,
    **previews.HANDLERS,
    **bot.jobs.HANDLERS,
    **hello.HANDLERS,
    **calls.HANDLERS,
    **giving.HANDLERS,
    **binding.HANDLERS,
    **proof.HANDLERS,
    freezing.FREEZE: patient(freezing.freeze),
    long_jobs.RUN: long_jobs.handler(LONG_JOBS),
}
PERIODIC: Final[Sequence[Periodic]] = bot.periodic.TASKS

log = structlog.get_logger(__name__)

TTL_S: Final = 30
MAINTENANCE_S: Final = 15
MONITORING_S: Final = 5
"""With RQ's own values an idle worker notices the death of another only after many minutes."""


@cache
def runtime() -> Runtime:
    """This process's wiring. Connections are not pooled: RQ forks for every job."""
    settings = load_settings()
    logging.configure(settings)
    return Runtime.build(settings, ensure_servers(settings), pooled=False)


def drain(queue: str) -> int:
    """The one RQ job there is: do what is due in a queue's outbox; returns how many tasks were taken."""
    try:
        taken = jobs.drain(runtime(), HANDLERS, queue, is_told_to_stop=lambda: bool(_told_to_stop))
        if queue == outbox.BROADCASTS:
            taken += _send_broadcasts()
        # This process ends right after the job, and its bell with it.
        runtime().bell.flush()
        return taken
    except Exception:
        # RQ's own line about it is cut short, since it quotes what the error says.
        log.exception("queue not drained", queue=queue)
        raise


def _send_broadcasts() -> int:
    """Recipients are a queue of their own: they are claimed and settled by hundreds, not task by task."""
    settings = load_settings()
    # This process lives for one job and forks no more, so it may keep its connections.
    pooled = Runtime.build(settings, ensure_servers(settings))
    try:
        return sending.drain(pooled, is_told_to_stop=lambda: bool(_told_to_stop))
    finally:
        pooled.bell.flush()
        pooled.database.dispose()


_told_to_stop: list[int] = []
"""Signals that came to a forked job; the worker itself never gets this one."""


class QueueWorker(Worker):
    """Serves one queue; a worker of two can lose a job when it dies at the wrong moment."""

    def __init__(self, queue: str, connection: "Redis") -> None:
        super().__init__(
            [queue_named(queue, connection)],
            connection=connection,
            serializer=JSONSerializer,
            worker_ttl=TTL_S,
            maintenance_interval=MAINTENANCE_S,
            job_monitoring_interval=MONITORING_S,
            log_job_description=False,
        )

    def handle_warm_shutdown_request(self) -> None:
        """Let the running job finish the task it has and leave the rest to the next worker."""
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]
        if self.horse_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGUSR1)


def work(queue: str, *, burst: bool = False) -> None:
    """Serve a queue until SIGTERM; with `burst` until nothing is left."""
    signal.signal(signal.SIGUSR1, lambda number, _frame: _told_to_stop.append(number))
    metrics.prepare(load_settings().quanma_home / "metrics", forks=True)
    # What is waiting since before this worker came rings no bell of its own.
    runtime().bell.ring(queue)
    runtime().bell.flush()
    QueueWorker(queue, connect(runtime().redis_url)).work(burst=burst)


def schedule(stop: threading.Event) -> None:
    """Start what happens by itself, whenever this process is the one elected, until told to stop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    Scheduler(runtime(), PERIODIC).run(stop)
