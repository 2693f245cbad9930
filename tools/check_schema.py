"""Fail unless the migrations build exactly the tables that the models describe."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from core import migrate
from core.database import Database, Role
from core.servers import embedded_servers
from core.settings import read_settings


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="quanma-schema-") as folder:
        # As root the server runs as nobody, who has to get in.
        Path(folder).chmod(0o755)
        settings = read_settings(_env_file=None, quanma_home=folder, database_url=None, redis_url="redis://not-needed")
        with embedded_servers(settings, is_durable=False) as urls:
            secret_key = settings.secret_key.get_secret_value()
            database = Database(urls.database_url, secret_key, pooled=False)
            migrate.upgrade(database, secret_key)
            with database.engine(Role.MIGRATE).connect() as connection:
                differences = migrate.differences(connection)
    for difference in differences:
        print(difference, file=sys.stderr)
    if differences:
        print("模型与迁移不一致。 The models and the migrations differ.", file=sys.stderr)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
