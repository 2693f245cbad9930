"""Callback: a mix of events in secure mode, every effect applied and committed, beside peers that store nothing.

40 % scans by followers, 20 % follows through a code, 30 % texts, 10 % menu clicks, over 64 connections from a client on
the same cores. The peers run on the same server with the same number of workers, alternating with ours, so that the
ratios mean something where absolute figures drift.
"""

import contextlib
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
import psutil
from sqlalchemy import text

from benchmarks import load
from bot.inbox import Inbox
from core.database import Role
from core.migrate import upgrade
from core.runtime import Runtime
from core.servers import EmbeddedServers
from core.settings import read_settings
from tests.community import Code, Neighbourhood, subscribed
from tests.conftest import free_port, wait_until
from wechat.crypto import MessageCrypto, signature

APP_ID, TOKEN, ACCOUNT = "wx0123456789abcdef", "benchmark", "gh_0123456789ab"
AES_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
SECRET_KEY = "a-secret-key-for-benchmarks"
WORKERS = 2
PEERS = {"flask constant": "constant", "werobot echo": "werobot_echo", "wechatpy echo": "wechatpy_echo"}


def environment(home: Path, runtime: Runtime) -> dict[str, str]:
    return {
        **os.environ,
        "QUANMA_HOME": str(home),
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": str(runtime.settings.database_url),
        "REDIS_URL": str(runtime.settings.redis_url),
        "WECHAT_APP_ID": APP_ID,
        "WECHAT_APP_SECRET": "0" * 32,
        "WECHAT_TOKEN": TOKEN,
        "WECHAT_AES_KEY": AES_KEY,
        "WECHAT_ACCOUNT": ACCOUNT,
        "WECHAT_API_URL": "http://127.0.0.1:9",
        "LOG_LEVEL": "WARNING",
    }


@contextlib.contextmanager
def house() -> Iterator[tuple[Path, Runtime]]:
    """A migrated database of its own, on durable embedded servers."""
    with tempfile.TemporaryDirectory(prefix="quanma-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        settings = read_settings(_env_file=None, quanma_home=home, secret_key=SECRET_KEY)
        embedded = EmbeddedServers(settings, is_durable=True)
        settings = read_settings(
            _env_file=None,
            quanma_home=home,
            secret_key=SECRET_KEY,
            database_url=embedded.urls.database_url,
            redis_url=embedded.urls.redis_url,
            wechat_app_id=APP_ID,
            wechat_app_secret="0" * 32,
            wechat_token=TOKEN,
            wechat_aes_key=AES_KEY,
            wechat_account=ACCOUNT,
            wechat_api_url="http://127.0.0.1:9",
        )
        runtime = Runtime.build(settings, embedded.urls)
        upgrade(runtime.database, SECRET_KEY)
        try:
            yield home, runtime
        finally:
            runtime.database.dispose()
            embedded.leave()


@contextlib.contextmanager
def served(arguments: list[str], variables: dict[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, up and answering."""
    process = subprocess.Popen([sys.executable, "-m", *arguments], env=variables)
    try:
        wait_until(lambda: _listens(port), seconds=30, what="the server")
        time.sleep(1.0)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    return any(one.laddr.port == port and one.status == "LISTEN" for one in psutil.net_connections("tcp"))


class Mix:
    """Prepared deliveries in secure mode: followers who scan, write and click, and newcomers who follow."""

    def __init__(self, codes: list[Code], followers: list[str], seed: int) -> None:
        self._codes = codes
        self._followers = followers
        self._chance = random.Random(seed)
        self._crypto = MessageCrypto(APP_ID, TOKEN, AES_KEY)
        self._message = secrets.randbelow(2**40) << 20

    def requests(self, count: int) -> list[bytes]:
        return [self._delivery() for _ in range(count)]

    def _delivery(self) -> bytes:
        chance, now = self._chance, int(time.time())
        openid = chance.choice(self._followers)
        scene = chance.choice(self._codes).scene
        dice = chance.random()
        self._message += 1
        if dice < 0.4:
            what = f"<MsgType>event</MsgType><Event>SCAN</Event><EventKey>{scene}</EventKey><Ticket>gQ{scene}</Ticket>"
        elif dice < 0.6:
            openid = f"oNew{secrets.token_hex(12)}"
            what = (
                f"<MsgType>event</MsgType><Event>subscribe</Event><EventKey>qrscene_{scene}</EventKey>"
                f"<Ticket>gQ{scene}</Ticket>"
            )
        elif dice < 0.9:
            what = f"<MsgType>text</MsgType><Content>今天几点开门？</Content><MsgId>{self._message}</MsgId>"
        else:
            what = f"<MsgType>event</MsgType><Event>CLICK</Event><EventKey>K{self._message}</EventKey>"
        xml = (
            f"<xml><ToUserName>{ACCOUNT}</ToUserName><FromUserName>{openid}</FromUserName>"
            f"<CreateTime>{now}</CreateTime>{what}</xml>"
        )
        nonce = secrets.token_hex(5)
        sealed = self._crypto.encrypt(xml.encode(), timestamp=now, nonce=nonce)
        encrypted = sealed.partition("<Encrypt><![CDATA[")[2].partition("]]>")[0]
        body = f"<xml><ToUserName><![CDATA[{ACCOUNT}]]></ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
        query = (
            f"signature={signature(TOKEN, str(now), nonce)}&timestamp={now}&nonce={nonce}&encrypt_type=aes"
            f"&msg_signature={signature(TOKEN, str(now), nonce, encrypted)}&openid={openid}"
        )
        return load.post(f"/wechat/callback?{query}", body.encode())


def settle(runtime: Runtime, merchants: int = 50, followers: int = 10_000) -> tuple[list[Code], list[str]]:
    """A community that is lived in: merchants with codes, followers who came through them."""
    street = Neighbourhood(runtime)
    codes = [street.code(street.merchant(f"第{number}家店")) for number in range(merchants)]
    inbox, chance = Inbox(runtime), random.Random(1)
    openids = [f"oOld{number:024d}" for number in range(followers)]
    for start in range(0, followers, 200):
        inbox.receive(
            [
                subscribed(openid, street.now - timedelta(days=chance.randrange(1, 60)), chance.choice(codes).scene)
                for openid in openids[start : start + 200]
            ]
        )
    with runtime.transaction(Role.MIGRATE) as session:
        session.execute(text("ANALYZE"))
    return codes, openids


@click.command()
@click.option("--events", default=6_000, help="Events per round.")
@click.option("--rounds", default=3, help="Rounds, ours and the peers in turn.")
@click.option("--json", "as_json", is_flag=True)
def main(events: int, rounds: int, as_json: bool) -> None:
    """Measure the callback beside its peers."""
    results: dict[str, list[load.Measured]] = {"quanma": [], **{name: [] for name in PEERS}}
    with house() as (home, runtime):
        codes, followers = settle(runtime)
        variables = environment(home, runtime)
        for number in range(rounds):
            mix = Mix(codes, followers, number)
            port = free_port()
            with served(["web.serve", "front", f"127.0.0.1:{port}"], variables, port):
                load.run(port, mix.requests(500))
                results["quanma"].append(load.run(port, mix.requests(events)))
            for name, application in PEERS.items():
                port = free_port()
                arguments = ["granian", "--interface", "wsgi", "--workers", str(WORKERS), "--blocking-threads", "8",
                             "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning",
                             f"benchmarks.peers:{application}"]  # fmt: skip
                with served(arguments, variables, port):
                    load.run(port, mix.requests(500))
                    results[name].append(load.run(port, mix.requests(events)))
        with runtime.transaction(Role.PLATFORM) as session:
            stored = session.execute(text("SELECT count(*) FROM inbox_event")).scalar_one()
    medians = {name: statistics.median(one.rate for one in measured) for name, measured in results.items()}
    if as_json:
        click.echo(json.dumps({name: [vars(one) for one in measured] for name, measured in results.items()}))
        return
    for name, measured in results.items():
        for one in measured:
            click.echo(f"{name:16} {one}")
    click.echo(f"stored {stored:,} events")
    for name in PEERS:
        click.echo(f"quanma / {name}: {medians['quanma'] / medians[name]:.2f}")


if __name__ == "__main__":
    main()
