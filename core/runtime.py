"""One wiring for all processes: settings, database, clock, bell, and the platform's client."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from sqlalchemy.orm import Session

from core import outbox
from core.bell import Bell
from core.clock import Clock
from core.database import Database, Role
from core.servers import ServerUrls
from core.settings import Settings

CODE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's: no I, L, O, U, so that people read codes to each other without mistakes."""


@dataclass(frozen=True, eq=False)
class Runtime:
    """Built once by each entry point and handed on; nothing else is global."""

    settings: Settings
    database: Database
    clock: Clock
    bell: Bell
    redis_url: str

    @classmethod
    def build(cls, settings: Settings, urls: ServerUrls, *, pooled: bool = True) -> Runtime:
        """`pooled=False` for processes that fork."""
        database = Database(
            urls.database_url, settings.secret_key.get_secret_value(), pooled=pooled, prepare=settings.database_prepare
        )
        return cls(settings, database, Clock(database), Bell(urls.redis_url), urls.redis_url)

    @contextmanager
    def transaction(
        self,
        role: Role,
        *,
        merchant_id: int | None = None,
        follower_id: int | None = None,
        session_hash: bytes | None = None,
        statement_timeout_s: int | None = None,
    ) -> Iterator[Session]:
        """A database transaction; after its commit the bells of the queues it wrote to are rung."""
        with self.database.transaction(
            role,
            merchant_id=merchant_id,
            follower_id=follower_id,
            session_hash=session_hash,
            statement_timeout_s=statement_timeout_s,
        ) as session:
            yield session
        self.bell.ring(*outbox.to_ring(session))

    def now(self) -> datetime:
        """The application's time, aware UTC."""
        return self.clock.now()

    @staticmethod
    def new_code(length: int = 10) -> str:
        """A random code people can read out, five bits a character."""
        return "".join(secrets.choice(CODE_ALPHABET) for _ in range(length))

    @cached_property
    def _key(self) -> bytes:
        return hashlib.sha256(b"quanma keyed ids\0" + self.settings.secret_key.get_secret_value().encode()).digest()

    def keyed_id(self, *parts: str | int) -> bytes:
        """HMAC over the parts: a stable id that tells nothing about them without SECRET_KEY."""
        message = "\x1f".join(str(part) for part in parts).encode()
        return hmac.new(self._key, message, hashlib.sha256).digest()
