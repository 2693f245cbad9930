"""`python -m sandbox`: start WeChat in a box."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from sandbox.account import IDENTITY, Account, Limits, Mode, identity
from sandbox.journal import BrokenJournal
from sandbox.platform import Platform
from sandbox.server import build

SHUTDOWN_SECONDS = 0.3


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = _parser()
    given = parser.parse_args(argv)
    home = Path(given.home)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        limits = Limits()
        for assignment in [*filter(None, os.environ.get("SANDBOX_LIMITS", "").split(",")), *given.limit]:
            limits.set(assignment)
        account = Account(
            **identity(home, {name: getattr(given, name) for name in IDENTITY}),
            name=given.name,
            callback_url=given.callback_url,
            mode=Mode(given.mode),
            public_url=(given.public_url or f"http://{given.host}:{given.port}").rstrip("/"),
            oauth_domain=given.oauth_domain,
            ip_whitelist=given.ip_whitelist.split(",") if given.ip_whitelist else None,
            limits=limits,
        )
    except ValueError as error:
        parser.error(str(error))
    with _only_one(home):
        try:
            asyncio.run(_serve(account, home, given.host, given.port))
        except (OSError, BrokenJournal) as error:
            raise SystemExit(f"WeChat in a box cannot run: {error}") from error


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Two processes on one journal would overwrite each other's state."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SystemExit(f"WeChat in a box already runs on {home}.") from error
        yield


def _parser() -> argparse.ArgumentParser:
    """Every option can also come from the environment, so that secrets need not stand in the process list."""
    parser = argparse.ArgumentParser(prog="sandbox", description="A local WeChat platform for one service account.")
    options: dict[str, tuple[str | None, str]] = {
        "host": ("127.0.0.1", "address to listen on"),
        "port": ("8001", "port to listen on"),
        "home": ("./var/sandbox", "folder for state, media and log"),
        "app-id": (None, "AppID; default: made once and kept"),
        "app-secret": (None, "AppSecret; default: made once and kept"),
        "token": (None, "callback token; default: made once and kept"),
        "aes-key": (None, "EncodingAESKey; default: made once and kept"),
        "account": (None, "the account's original id, gh_…; default: made once and kept"),
        "name": ("圈码体验号", "the account's name"),
        "callback-url": ("", "where pushes go"),
        "mode": ("secure", "secure, compatible or plain"),
        "public-url": ("", "how a browser reaches the sandbox; default: host and port"),
        "oauth-domain": ("", "the only host OAuth may return to; default: any"),
        "ip-whitelist": ("", "addresses that may fetch tokens, by comma; default: all"),
    }
    for name, (default, text) in options.items():
        variable = "SANDBOX_" + name.replace("-", "_").upper()
        parser.add_argument(
            f"--{name}",
            dest="original_id" if name == "account" else name.replace("-", "_"),
            default=os.environ.get(variable, default),
            type=int if name == "port" else str,
            help=f"{text} ({variable})",
        )
    parser.add_argument(
        "--limit", action="append", default=[], metavar="NAME=N", help="a smaller limit, repeatable (SANDBOX_LIMITS)"
    )
    return parser


async def _serve(account: Account, home: Path, host: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    runner = web.AppRunner(build(Platform(account, home)), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=1024).start()
    print(f"WeChat in a box: {account.public_url}", flush=True)
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    main()
