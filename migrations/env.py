"""Alembic's entry: run by core.migrate with the schema owner's connection, or by developers' `alembic revision`."""

from alembic import context
from sqlalchemy import Connection

from core.migrate import connect_as_owner, include_object, metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata(),
        include_object=include_object,
        compare_type=True,
        compare_server_default=False,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with connect_as_owner() as owner:
        run(owner)
