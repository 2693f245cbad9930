"""The database as four people see it: engines per login role, and transactions that know their tenant.

PostgreSQL decides what a role may see (row-level security, forced on every table of a merchant).
A transaction states whom it serves with transaction-local settings, so that a pooled connection carries
nothing over; a transaction that states nothing sees nothing.
"""

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cached_property
from threading import Lock
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, make_url, text
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import NullPool

STATEMENT_TIMEOUT_MS = 3_000
"""A callback must answer within 4.5 s or fail fast (EV-15)."""
LOCK_TIMEOUT_MS = 1_000
PREPARE_AFTER = 3
"""Executions after which a connection keeps a statement's plan."""


class Base(DeclarativeBase):
    """All tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Role(StrEnum):
    """Who asks. The value is the login role's name; MIGRATE is whoever DATABASE_URL says."""

    MIGRATE = "migrate"
    MERCHANT = "quanma_merchant"
    FAN = "quanma_fan"
    PLATFORM = "quanma_platform"


def role_password(secret_key: str, role: Role) -> str:
    """The login password of a role, derived so that every process of an installation knows it without storing it."""
    return hmac.new(secret_key.encode(), f"database role {role}".encode(), hashlib.sha256).hexdigest()


class Database:
    """Engines by role. `pooled=False` for processes that fork (RQ workers); `prepare=False` behind pgbouncer in
    transaction mode, where one session's prepared statements meet another's."""

    def __init__(
        self, url: str, secret_key: str, *, pooled: bool = True, prepare: bool = True, pool_size: int = 8
    ) -> None:
        self._url = make_url(url)
        self._secret_key = secret_key
        self._pooled = pooled
        self._prepare = prepare
        self._pool_size = pool_size
        self._engines: dict[Role, Engine] = {}
        self._lock = Lock()

    def engine(self, role: Role) -> Engine:
        with self._lock:
            if role not in self._engines:
                self._engines[role] = self._create(role)
            return self._engines[role]

    def _create(self, role: Role) -> Engine:
        url = self._url.set(drivername="postgresql+psycopg")
        if role is not Role.MIGRATE:
            url = url.set(username=role.value, password=role_password(self._secret_key, role))
        options: dict[str, Any] = (
            {"pool_size": self._pool_size, "max_overflow": 4, "pool_timeout": 2, "pool_pre_ping": True}
            if self._pooled
            else {"poolclass": NullPool}
        )
        timeouts = (
            ""
            if role is Role.MIGRATE
            else f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
            " -c idle_in_transaction_session_timeout=60000"
        )
        return create_engine(
            url,
            # An error would quote the values of its statement otherwise: tokens, openids, words of a follower.
            hide_parameters=True,
            connect_args={
                # Connections that live for one transaction would prepare in vain.
                "prepare_threshold": PREPARE_AFTER if self._prepare and self._pooled else None,
                "connect_timeout": 3,
                "options": f"-c timezone=UTC {timeouts}",
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
            },
            **options,
        )

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
        """A session whose work is committed at the end, or rolled back whole if anything is raised.

        `merchant_id`, `follower_id` and `session_hash` tell row-level security whom the transaction serves.
        `statement_timeout_s` gives long jobs (reconcile, imports) more time than a page has.
        """
        with Session(self.engine(role), expire_on_commit=False) as session, session.begin():
            set_tenant(session, merchant_id=merchant_id, follower_id=follower_id, session_hash=session_hash)
            if statement_timeout_s is not None:
                session.execute(text(f"SET LOCAL statement_timeout = '{int(statement_timeout_s)}s'"))
            yield session

    def dispose(self) -> None:
        """Close all pooled connections, before a fork or at the end."""
        with self._lock:
            for engine in self._engines.values():
                engine.dispose()

    @cached_property
    def name(self) -> str:
        return self._url.database or ""


def set_tenant(
    session: Session,
    *,
    merchant_id: int | None = None,
    follower_id: int | None = None,
    session_hash: bytes | None = None,
) -> None:
    """State whom the rest of this transaction serves; what is not given stays as it is."""
    given = {
        "app.merchant_id": None if merchant_id is None else str(merchant_id),
        "app.follower_id": None if follower_id is None else str(follower_id),
        "app.session_hash": None if session_hash is None else session_hash.hex(),
    }
    for name, value in given.items():
        if value is not None:
            session.execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value})


def rows_changed(result: Any) -> int:
    """How many rows a guarded UPDATE or INSERT touched: 0 means the guard said no."""
    return int(result.rowcount)
