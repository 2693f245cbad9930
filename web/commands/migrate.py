"""`quanma migrate`: bring the schema up."""

import click

from core import migrate as migrations
from core.database import Database, Role
from core.servers import embedded_servers
from core.settings import load_settings
from merchants import merchants
from web.commands.desk import Answer, answers


@click.command()
@answers(lambda answer: f"表结构已是最新（{answer['revision']}）。")
def migrate() -> Answer:
    """建立或升级数据库的表，并登记所设的公众号：此刻之前的关注者算原有粉丝。"""
    settings = load_settings()
    secret_key = settings.secret_key.get_secret_value()
    with embedded_servers(settings) as urls:
        database = Database(urls.database_url, secret_key, pooled=False)
        revision = migrations.upgrade(database, secret_key)
        with database.transaction(Role.PLATFORM) as session:
            merchants.ensure_account(session, settings)
        return {"revision": revision}
