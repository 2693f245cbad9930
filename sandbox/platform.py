"""The platform as one object: what the API, the OAuth pages and the control API all work on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path

from sandbox.account import Account
from sandbox.clock import Clock
from sandbox.faults import Faults
from sandbox.files import Files
from sandbox.journal import Journal
from sandbox.log import Log
from sandbox.push import Pusher
from sandbox.state import ACCOUNT_NAME, Media, State

TEMPORARY_SECONDS = 3 * 24 * 3600
HOUSEKEEPING_SECONDS = 30


class Platform:
    """One local WeChat with one service account."""

    def __init__(self, account: Account, home: Path) -> None:
        self.account = account
        self.journal = Journal(home / "journal.jsonl")
        self.clock = Clock(self.journal)
        self.state = State(self.journal, account, self.clock)
        self.files = Files(home / "media")
        self.faults = Faults()
        self.log = Log(home / "log.jsonl", self.clock)
        self.pusher = Pusher(
            account=account, state=self.state, clock=self.clock, faults=self.faults, log=self.log, journal=self.journal
        )
        self.minute_calls: dict[str, tuple[int, int]] = {}
        self._tasks: set[asyncio.Task[object]] = set()

    async def open(self) -> None:
        """Recall the state and be ready."""
        self.journal.open()
        self.account.name = self.state.values.get(ACCOUNT_NAME) or self.account.name
        await self.pusher.open()
        self.in_background(self._keep_house())

    async def close(self) -> None:
        """Stop background work and write everything down."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pusher.close()
        self.journal.close()
        self.log.close()

    def media(self, media_id: str) -> Media | None:
        """An uploaded file, unless its three days are over."""
        media = self.state.media.get(media_id)
        if media is None or (not media.permanent and media.created_at + TEMPORARY_SECONDS <= self.clock.now()):
            return None
        return media

    def in_background(self, work: Coroutine[object, None, object]) -> None:
        """Run something nobody waits for; it is cancelled when the platform closes."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            self.state.forget_old_grants()
            self._forget_old_media()
            self.journal.flush()
            if self.journal.is_long:
                await self.journal.compact()

    def _forget_old_media(self) -> None:
        for media_id in list(self.state.media.rows):
            if self.media(media_id) is None:
                self.state.media.remove(media_id)
                self.files.remove(media_id)

    def reset(self) -> None:
        """Forget people, codes, chats, tokens, media, quotas, faults and the clock's offset; the log stays."""
        self.journal.clear()
        self.faults.rules.clear()
        self.minute_calls.clear()
        self.files.clear()
