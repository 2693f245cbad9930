"""The bell: wakes RQ workers after a commit, from a thread of its own, so that a slow Redis slows nobody."""

from __future__ import annotations

import threading
from typing import Any

import redis
import structlog
from rq import Queue, Retry
from rq.serializers import JSONSerializer

log = structlog.get_logger(__name__)

DRAIN = "worker.drain"
"""The one RQ job there is: work off a queue's outbox rows."""
JOB_TIMEOUT_S = {"slow": 6 * 3_600}
USUAL_TIMEOUT_S = 900
ANSWER_S = 5.0
QUIET_S = 0.05
"""Rings of a queue within this time become one: draining takes every row that is due."""


def connect(redis_url: str, *, patience_s: float | None = None) -> redis.Redis:
    """A client that gives up connecting quickly, and on an answer after `patience_s`; None waits as a worker does.

    `unix://` addresses reach the embedded server.
    """
    client: redis.Redis = redis.Redis.from_url(
        redis_url, socket_connect_timeout=2, socket_timeout=patience_s, health_check_interval=30
    )
    return client


def queue_named(name: str, connection: redis.Redis) -> Queue:
    return Queue(
        name, connection=connection, serializer=JSONSerializer, default_timeout=JOB_TIMEOUT_S.get(name, USUAL_TIMEOUT_S)
    )


class Bell:
    """Rings never block and never fail: the sweeper rings again for whatever stays owed."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._wanted: set[str] = set()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._idle = threading.Event()
        self._idle.set()

    def ring(self, *queues: str) -> None:
        """Wake the workers of these queues soon."""
        if not queues:
            return
        with self._condition:
            self._wanted.update(queues)
            self._idle.clear()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
                self._thread.start()
            self._condition.notify()

    def flush(self, timeout: float = 2.0) -> None:
        """Wait until what was rung is delivered; for commands that end right after."""
        self._idle.wait(timeout)

    def _run(self) -> None:
        connection = connect(self._redis_url, patience_s=ANSWER_S)
        pause = threading.Event()
        while True:
            with self._condition:
                while not self._wanted:
                    self._idle.set()
                    self._condition.wait()
                wanted, self._wanted = self._wanted, set()
            for name in sorted(wanted):
                self._enqueue(name, connection)
            pause.wait(QUIET_S)

    @staticmethod
    def _enqueue(name: str, connection: redis.Redis) -> None:
        try:
            queue = queue_named(name, connection)
            # Whoever takes up a job that still waits will see all that is due by now.
            if queue.count == 0:
                options: dict[str, Any] = {"result_ttl": 0, "failure_ttl": 3600, "retry": Retry(max=2)}
                queue.enqueue(DRAIN, name, **options)
        except redis.RedisError as error:
            log.warning("bell not heard", queue=name, error=type(error).__name__)
