"""Bringing the schema up: login roles, then the numbered migrations, one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, MetaData, text

from core.database import Base, Database, Role, role_password
from core.settings import load_settings

MODEL_MODULES = (
    "core.models",
    "wechat.models",
    "merchants.models",
    "qrcodes.models",
    "qrcodes.counted",
    "campaigns.models",
    "campaigns.broadcasts.models",
    "campaigns.broadcasts.digest_models",
    "campaigns.coupons.models",
    "campaigns.points.models",
    "campaigns.referrals.models",
    "community.directory.models",
    "community.notices.models",
    "bot.models",
    "bot.rules.models",
    "bot.talks.models",
    "bot.menus.models",
    "bot.callbacks",
)
MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
ONE_AT_A_TIME = 7_071_001
"""Advisory lock: two hosts that start together must not migrate together."""


def metadata() -> MetaData:
    """All tables of all packages."""
    for module in MODEL_MODULES:
        import_module(module)
    return Base.metadata


def config() -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS))
    return settings


def head() -> str:
    """The newest revision in the code."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    assert revision is not None  # noqa: S101
    return revision


def current(connection: Connection) -> str | None:
    """The revision the database stands at; None before the first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database, secret_key: str) -> str:
    """Create what is missing, set the roles' passwords, run the open migrations; returns the revision reached."""
    with database.engine(Role.MIGRATE).connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ONE_AT_A_TIME})
        connection.commit()
        try:
            create_roles(connection, secret_key)
            connection.execute(text("SET lock_timeout = '10s'"))
            connection.commit()
            alembic = config()
            alembic.attributes["connection"] = connection
            command.upgrade(alembic, "head")
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ONE_AT_A_TIME})
            connection.commit()
    return head()


def create_roles(connection: Connection, secret_key: str) -> None:
    """The three login roles that are not the owner: none may bypass row-level security (TN-2)."""
    for role in (Role.MERCHANT, Role.FAN, Role.PLATFORM):
        name, password = sql.Identifier(role.value), sql.Literal(role_password(secret_key, role))
        exists = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": role.value}).scalar()
        attributes = sql.SQL("" if exists else "NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS")
        verb = sql.SQL("ALTER" if exists else "CREATE")
        statement = sql.SQL("{} ROLE {} LOGIN {} PASSWORD {}").format(verb, name, attributes, password)
        driver: Any = connection.connection.dbapi_connection
        connection.exec_driver_sql(statement.as_string(driver).replace("%", "%%"))
    connection.commit()


PARTITION_DEFAULTS = ("inbox_event_default", "scan_default")


def include_object(_item: object, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
    """Monthly partitions are made by `core.partitions`, not by migrations."""
    return not (kind == "table" and reflected and name is not None and ("_p2" in name or name in PARTITION_DEFAULTS))


def differences(connection: Connection) -> list[Any]:
    """What a new migration would have to do; empty where models and schema agree."""
    context = MigrationContext.configure(
        connection, opts={"include_object": include_object, "compare_type": True, "target_metadata": metadata()}
    )
    return list(compare_metadata(context, metadata()))


@contextmanager
def connect_as_owner() -> Iterator[Connection]:
    """For developers' `alembic revision --autogenerate`."""
    from core.servers import embedded_servers

    settings = load_settings()
    with embedded_servers(settings) as urls:
        secret = settings.secret_key.get_secret_value()
        with Database(urls.database_url, secret, pooled=False).engine(Role.MIGRATE).connect() as connection:
            yield connection
