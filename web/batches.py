"""Events of concurrent requests share a commit: what one event costs, sixteen nearly cost together.

A lone event waits for nobody. While something is under way, newcomers gather for at most five milliseconds. Two
events of one person never share a batch or overtake each other, and a batch that fails is tried again event by
event, so that one bad event never takes others with it.
"""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from bot.events import Event
from web.callback import Receiver

MOST_EVENTS = 16
WINDOW_S = 0.005
MOST_WAITING = 1_024
THREADS = 3

log = structlog.get_logger(__name__)


class NotStored(Exception):
    """The event is not known to be stored: the platform has to send it again."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(slots=True, eq=False)
class _Waiting:
    """One event on its way into the inbox, and whoever waits for what came of it."""

    event: Event
    person: str
    arrived: float
    reply: asyncio.Future[str | None]
    is_late: bool = False


class Batches:
    """Gathers events on the event loop and hands them to the inbox on a few threads."""

    def __init__(self, inbox: Receiver, *, threads: int = THREADS, most_waiting: int = MOST_WAITING) -> None:
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="inbox")
        self._most_waiting = most_waiting
        self._waiting: deque[_Waiting] = deque()
        self._under_way: set[str] = set()
        self._running = 0
        self._next: asyncio.Handle | None = None

    async def receive(self, event: Event, *, deadline: float) -> str | None:
        """The reply to an event that is stored now; raises `NotStored`, at `deadline` (loop time) at the latest.

        An event that was taken in is applied even if nobody waits for its reply any more.
        """
        if len(self._waiting) >= self._most_waiting:
            raise NotStored("busy")
        # Somebody without a name (a job result) still must not meet a repetition of the same event.
        person = event.openid or event.dedupe_key
        one = _Waiting(event, person, self._loop.time(), self._loop.create_future())
        self._waiting.append(one)
        if len(self._waiting) >= MOST_EVENTS:
            self._start()
        elif self._next is None:
            self._schedule()
        alarm = self._loop.call_at(deadline, _give_up, one)
        try:
            return await one.reply
        finally:
            alarm.cancel()

    async def bury(self, body: bytes, reason: str, *, deadline: float) -> None:
        """Keep an unusable delivery; raises whatever went wrong."""
        async with asyncio.timeout_at(deadline):
            await self._loop.run_in_executor(self._pool, self._inbox.bury, body, reason)

    async def close(self) -> None:
        """Return when everything that was taken in has been tried."""
        while self._waiting or self._running:
            await asyncio.sleep(WINDOW_S)
        self._pool.shutdown()

    def _schedule(self) -> None:
        if self._running:
            self._next = self._loop.call_at(self._waiting[0].arrived + WINDOW_S, self._start)
        else:
            # Not at once: requests that arrived in the same turn of the loop come along at no cost.
            self._next = self._loop.call_soon(self._start)

    def _start(self) -> None:
        """Send off one batch, if a thread is free and anybody may go."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._running >= self._threads:
            return
        batch = self._choose()
        if not batch:
            return
        self._running += 1
        self._under_way.update(one.person for one in batch)
        done = self._loop.run_in_executor(self._pool, self._apply, batch)
        done.add_done_callback(lambda done: self._finish(batch, done))
        if self._waiting and self._next is None:
            self._schedule()

    def _choose(self) -> list[_Waiting]:
        """Who goes next, in order of arrival; whoever has an event under way or in this batch waits for the next."""
        batch: list[_Waiting] = []
        people: set[str] = set()
        stay: list[_Waiting] = []
        while self._waiting and len(batch) < MOST_EVENTS:
            one = self._waiting.popleft()
            if one.is_late:
                continue
            if one.person in self._under_way or one.person in people:
                stay.append(one)
            else:
                batch.append(one)
            people.add(one.person)
        self._waiting.extendleft(reversed(stay))
        return batch

    def _finish(self, batch: list[_Waiting], done: "asyncio.Future[list[str | NotStored | None]]") -> None:
        self._running -= 1
        self._under_way.difference_update(one.person for one in batch)
        for one, outcome in zip(batch, done.result(), strict=True):
            if one.reply.done():
                continue  # nobody waits any more
            if isinstance(outcome, NotStored):
                one.reply.set_exception(outcome)
            else:
                one.reply.set_result(outcome)
        if self._waiting:
            if len(self._waiting) >= MOST_EVENTS or not self._running:
                self._start()
            elif self._next is None:
                self._schedule()

    def _apply(self, batch: list[_Waiting]) -> list[str | NotStored | None]:
        """On a thread: all in one transaction, or, if that fails, each in its own."""
        if len(batch) == 1:
            return [self._apply_alone(batch[0])]
        try:
            return [*self._inbox.receive([one.event for one in batch])]
        except Exception:
            log.warning("a batch failed; its events are tried one by one", events=len(batch), exc_info=True)
        # Those whose sender has been told to come again are left out: while the database is down they would pile up.
        return [NotStored("late") if one.is_late else self._apply_alone(one) for one in batch]

    def _apply_alone(self, one: _Waiting) -> str | NotStored | None:
        try:
            [reply] = self._inbox.receive([one.event])
        except Exception as error:
            log.exception("an event could not be stored", kind=one.event.kind)
            return NotStored("inbox", type(error).__name__)
        return reply


def _give_up(one: _Waiting) -> None:
    one.is_late = True
    if not one.reply.done():
        one.reply.set_exception(NotStored("late"))
