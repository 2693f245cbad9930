"""What pages inside WeChat need to use its scanner: a signature over their own address (JS-SDK).

Signatures are made with the account's page ticket, which all processes share through one row: the platform gives the
same one for two hours, and a second process that asks at the same moment takes nothing away from the first.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Final
from weakref import WeakKeyDictionary

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from core.database import Database, Role
from core.logging import scrubber
from core.runtime import Runtime
from wechat.client import PageTicket, WeChatClient, client_of
from wechat.models import WeChatTicket

RENEW_BEFORE_EXPIRY: Final = timedelta(seconds=300)


@dataclass(frozen=True)
class Signature:
    """What `wx.config` takes beside its list of functions."""

    app_id: str
    timestamp: int
    nonce: str
    signature: str = field(repr=False)


def signature(ticket: str, nonce: str, timestamp: int, url: str) -> str:
    """The signature of a page's address, which ends before its `#`. All values go in as they are."""
    page = url.partition("#")[0]
    signed = f"jsapi_ticket={ticket}&noncestr={nonce}&timestamp={timestamp}&url={page}"
    return hashlib.sha1(signed.encode(), usedforsecurity=False).hexdigest()


class Tickets:
    """Hands out the account's page ticket: from memory, else from the shared row, else from the platform."""

    def __init__(self, database: Database, client: WeChatClient, *, app_id: str) -> None:
        self._database = database
        self._client = client
        self._app_id = app_id
        self._one_thread = Lock()
        self._held: tuple[str, float] | None = None

    def current(self) -> str:
        """A ticket that works for minutes at least. Not within a transaction: it may have to be fetched."""
        with self._one_thread:
            if self._held is not None and time.monotonic() < self._held[1]:
                return self._held[0]
            with self._database.transaction(Role.PLATFORM) as session:
                row = session.get(WeChatTicket, self._app_id)
                now = session.execute(select(func.clock_timestamp())).scalar_one()
            if row is None or row.expires_at - RENEW_BEFORE_EXPIRY <= now:
                fetched = self._client.page_ticket()
                self._keep(fetched, now + fetched.lives)
                return self._hold(fetched.text, fetched.lives)
            return self._hold(row.ticket, row.expires_at - now)

    def _keep(self, fetched: PageTicket, expires_at: datetime) -> None:
        values = {"ticket": fetched.text, "expires_at": expires_at}
        row = insert(WeChatTicket).values(app_id=self._app_id, **values)
        with self._database.transaction(Role.PLATFORM) as session:
            session.execute(row.on_conflict_do_update(index_elements=["app_id"], set_=values))

    def _hold(self, ticket: str, lives: timedelta) -> str:
        scrubber.learn(ticket)
        self._held = (ticket, time.monotonic() + (lives - RENEW_BEFORE_EXPIRY).total_seconds())
        return ticket


_tickets: WeakKeyDictionary[Runtime, Tickets] = WeakKeyDictionary()


def sign(runtime: Runtime, url: str, *, now: datetime) -> Signature:
    """The signature of one of our own pages; whose page it is has been looked at before."""
    settings = runtime.settings
    if runtime not in _tickets:
        _tickets[runtime] = Tickets(runtime.database, client_of(runtime), app_id=settings.wechat_app_id)
    nonce, timestamp = runtime.new_code(16), int(now.timestamp())
    signed = signature(_tickets[runtime].current(), nonce, timestamp, url)
    return Signature(settings.wechat_app_id, timestamp, nonce, signed)
