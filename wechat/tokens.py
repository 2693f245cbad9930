"""One access token for all processes, fetched by one of them at a time.

Tokens come from `stable_token` in normal mode: asking again returns the same token while it is valid, so asking
never harms another process. A forced refresh kills the token everybody else holds; it is the last resort when the
platform rejects a token and still hands out the very same one.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

import psycopg
import structlog
from pydantic import SecretStr
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.clock import business_day
from core.database import Database, Role
from core.logging import scrubber
from wechat.errors import Misconfigured, OutcomeUnknown, TokenRejected, WaitAMinute, WeChatError
from wechat.limits import FORCED_REFRESH_APART, FORCED_REFRESHES_PER_DAY
from wechat.models import WeChatToken
from wechat.transport import Transport

PATH: Final = "cgi-bin/stable_token"
RENEW_BEFORE_EXPIRY: Final = timedelta(seconds=300)
"""The platform itself renews a token this long before its end, and the old one lives on until then."""
ASK_AGAIN_AFTER: Final = timedelta(seconds=30)
"""Not every call needs to ask in the token's last minutes, nor after each rejection in a storm of them."""
LOCK_SECONDS: Final = 15
"""Longer than a token call may take (3 s to connect, 10 s to answer), so that the queue survives one slow call."""

_TOKEN = re.compile(r"[!-~]{1,2048}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Token:
    """An access token; the version tells two processes whether they hold the same one."""

    text: str = field(repr=False)
    version: int


@dataclass(frozen=True)
class FetchedToken:
    """What the platform gave us just now."""

    text: str = field(repr=False)
    lives: timedelta


class TokenEndpoint:
    """The one call that needs the AppSecret."""

    def __init__(self, transport: Transport, *, app_id: str, app_secret: SecretStr) -> None:
        self._transport = transport
        self._app_id = app_id
        self._app_secret = app_secret

    def fetch(self, *, forced: bool) -> FetchedToken:
        """Raises only `Refused` kinds: a call that still waits for its token has certainly not been made."""
        failure: WeChatError
        try:
            return self._fetch(forced=forced)
        except OutcomeUnknown as error:
            failure = WaitAMinute(PATH, error.errmsg, errcode=error.errcode, rid=error.rid)
        except TokenRejected as error:  # 40001 means a bad secret here
            failure = Misconfigured(PATH, error.errmsg, errcode=error.errcode, rid=error.rid)
        raise failure

    def _fetch(self, *, forced: bool) -> FetchedToken:
        answer = self._transport.call(
            "POST",
            PATH,
            body={
                "grant_type": "client_credential",
                "appid": self._app_id,
                "secret": self._app_secret.get_secret_value(),
                "force_refresh": forced,
            },
        )
        token, seconds = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise OutcomeUnknown(PATH, "answered without a proper token")
        if type(seconds) is not int or not 0 < seconds <= 86_400:
            raise OutcomeUnknown(PATH, "answered without a proper lifetime")
        return FetchedToken(token, timedelta(seconds=seconds))


class TokenStore:
    """Hands out the account's access token; shared by the threads of a process, agreed between processes (AU-7)."""

    def __init__(self, database: Database, endpoint: TokenEndpoint, *, app_id: str) -> None:
        self._database = database
        self._endpoint = endpoint
        self._app_id = app_id
        # Only one thread of a process goes to the database; the others would each hold a connection while waiting.
        self._one_thread = Lock()
        self._held: tuple[Token, float] | None = None

    def current(self) -> Token:
        """A token that should work: from memory, else from the row all processes share, else from the platform."""
        if (token := self._in_memory()) is not None:
            return token
        with self._thread_lock():
            if (token := self._in_memory()) is not None:
                return token
            with self._database.transaction(Role.PLATFORM) as session:
                row, now = self._read(session)
            if row is not None and _usable_until(row) > now:
                return self._hold(row, now)
            with self._alone() as session:
                row, now = self._read(session)
                if row is None or _usable_until(row) <= now:
                    row = self._store(session, row, self._endpoint.fetch(forced=False), now)
            return self._hold(row, now)

    def replacement(self, rejected: Token) -> Token:
        """Another token than this one, which the platform has refused.

        Asks the platform at most once per 30 seconds over all processes, and forces it at most 20 times a day;
        in between raises `WaitAMinute`, so that a storm of refusals does not become a storm of token calls and what
        was to be sent is sent when the next token is due. `TokenRejected` says that asking did not help.
        """
        failure: WeChatError | None = None
        with self._thread_lock():
            held = self._in_memory()
            if held is not None and held.version > rejected.version:
                return held
            self._held = None
            with self._alone() as session:
                row, now = self._read(session)
                if row is None:
                    row = self._store(session, row, self._endpoint.fetch(forced=False), now)
                elif row.version == rejected.version or _usable_until(row) <= now:
                    try:
                        self._replace(session, row, now)
                    except WeChatError as error:
                        # Kept until the attempt is committed: a failed one counts against the 30 seconds too.
                        failure = error
            if failure is None:
                return self._hold(row, now)
        raise failure

    def _replace(self, session: Session, row: WeChatToken, now: datetime) -> None:
        if row.replaced_at is not None and now - row.replaced_at < ASK_AGAIN_AFTER:
            raise WaitAMinute(PATH, "the token was replaced moments ago and is refused again")
        row.replaced_at = now
        may_force = _may_force(row, now)
        fetched = None
        # One that came moments ago would come back the same.
        if not may_force or now - row.refreshed_at >= ASK_AGAIN_AFTER:
            fetched = self._endpoint.fetch(forced=False)
        if may_force and (fetched is None or fetched.text == row.access_token):
            today = business_day(now)
            row.forced_that_day = row.forced_that_day + 1 if row.forced_on == today else 1
            row.forced_on, row.last_forced_at = today, now
            fetched = self._endpoint.fetch(forced=True)
        if fetched is None or fetched.text == row.access_token:
            raise TokenRejected(PATH, "the platform refuses its own token")
        self._store(session, row, fetched, now)

    def _store(self, session: Session, row: WeChatToken | None, fetched: FetchedToken, now: datetime) -> WeChatToken:
        if row is None:
            row = WeChatToken(app_id=self._app_id, access_token="", version=0, forced_that_day=0)
            session.add(row)
        if row.access_token != fetched.text:
            row.access_token = fetched.text
            row.version += 1
        row.refreshed_at, row.expires_at = now, now + fetched.lives
        log.info("access token fetched", version=row.version, lives_seconds=int(fetched.lives.total_seconds()))
        return row

    def _read(self, session: Session) -> tuple[WeChatToken | None, datetime]:
        row = session.get(WeChatToken, self._app_id)
        return row, session.execute(select(func.clock_timestamp())).scalar_one()

    @contextmanager
    def _alone(self) -> Iterator[Session]:
        """A transaction that no other process has at the same time.

        The HTTP call is made inside it, against the rule that a transaction never spans the network: the lock must
        outlive the call, and this lock leaves with the connection if the process dies, while a lease would make the
        others poll and wait. The transaction touches one row that nobody else writes, so it delays nothing but
        those who need the same token.
        """
        session_seen = False
        try:
            with self._database.transaction(Role.PLATFORM, statement_timeout_s=LOCK_SECONDS + 5) as session:
                session.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
                session.execute(
                    text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
                    {"name": f"wechat_token {self._app_id}"},
                )
                session_seen = True
                yield session
        except DBAPIError as error:
            if session_seen or not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise
            raise _nobody_answers() from None

    @contextmanager
    def _thread_lock(self) -> Iterator[None]:
        if not self._one_thread.acquire(timeout=2 * LOCK_SECONDS):
            raise _nobody_answers()
        try:
            yield
        finally:
            self._one_thread.release()

    def _in_memory(self) -> Token | None:
        held = self._held
        return held[0] if held is not None and time.monotonic() < held[1] else None

    def _hold(self, row: WeChatToken, now: datetime) -> Token:
        token = Token(row.access_token, row.version)
        scrubber.learn(token.text)
        self._held = (token, time.monotonic() + (_usable_until(row) - now).total_seconds())
        return token


def _nobody_answers() -> WaitAMinute:
    return WaitAMinute(PATH, "another process is still waiting for the platform's token")


def _usable_until(row: WeChatToken) -> datetime:
    """Five minutes before the end; within those, half a minute after each time we asked."""
    return max(row.expires_at - RENEW_BEFORE_EXPIRY, min(row.refreshed_at + ASK_AGAIN_AFTER, row.expires_at))


def _may_force(row: WeChatToken, now: datetime) -> bool:
    is_too_soon = row.last_forced_at is not None and now - row.last_forced_at < FORCED_REFRESH_APART
    is_day_spent = row.forced_on == business_day(now) and row.forced_that_day >= FORCED_REFRESHES_PER_DAY
    return not is_too_soon and not is_day_spent
