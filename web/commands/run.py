"""`quanma run`: everything on this machine, in the foreground, until Ctrl-C."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import click

from core import migrate
from core.database import Database
from core.processes import stop_requested
from core.servers import EmbeddedServers
from core.settings import Settings, load_settings
from core.supervisor import TICK_S, Child, Supervisor
from web.commands.web import require_free
from web.demo.story import OPERATOR, TEA_HOUSE

READY_TIMEOUT_S = 60.0
DEMO_TIMEOUT_S = 600.0
LOCAL_HOSTS = {"127.0.0.1", "localhost", "::1"}


@dataclass
class Screen:
    """What the person at the terminal sees; standard output stays free for the one JSON document."""

    as_json: bool
    began_at: float = field(default_factory=time.monotonic)

    def say(self, text: str = "") -> None:
        click.echo(text, err=self.as_json)

    def done(self, text: str) -> None:
        self.say(f"  ✓ {text}（{time.monotonic() - self.began_at:.0f} 秒）")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="网页监听的地址。")
@click.option("--port", default=8000, show_default=True, help="网页监听的端口。")
@click.option("--no-sandbox", is_flag=True, help="不启动微信沙盒。")
@click.option("--json", "as_json", is_flag=True, help="就绪后输出一个 JSON 文档。")
def run(host: str, port: int, no_sandbox: bool, as_json: bool) -> None:
    """在本机启动全部：数据库、网页、后台任务、沙盒；Ctrl-C 全部停止。"""
    is_told_to_stop = stop_requested()
    settings = load_settings()
    screen = Screen(as_json)
    machine = Machine(settings, host, port, with_sandbox=not no_sandbox and settings.uses_sandbox_account)
    for taken_host, taken_port in machine.addresses:
        require_free(taken_host, taken_port)
    screen.say(f"圈码正在启动，数据在 {settings.quanma_home}")
    servers = EmbeddedServers(settings)
    try:
        screen.done("数据库和缓存")
        secret_key = settings.secret_key.get_secret_value()
        migrate.upgrade(Database(servers.urls.database_url, secret_key, pooled=False), secret_key)
        screen.done("表结构")
        if is_told_to_stop():
            return
        with machine.running(servers, screen) as supervisor:
            if not machine.wait_until_ready(supervisor, is_told_to_stop):
                return
            screen.done("网页和沙盒" if machine.with_sandbox else "网页")
            # Before the scheduler, which would compare the followers while they are moving in.
            machine.seed_demo(screen, is_told_to_stop)
            if is_told_to_stop():
                return
            machine.start_background(supervisor)
            machine.welcome(screen)
            supervisor.run(is_told_to_stop, every_second=servers.revive)
            screen.say("\n正在停止 …")
    finally:
        servers.leave()
    screen.say("已停止。")


class Machine:
    """What runs, where it answers, and how its commands are called."""

    def __init__(self, settings: Settings, host: str, port: int, *, with_sandbox: bool) -> None:
        self.settings = settings
        self.host = host
        self.port = port
        self.with_sandbox = with_sandbox
        local = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104  compared, not bound
        self.local_url = f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"
        is_public_given = "public_url" in settings.model_fields_set
        self.public_url = settings.public_url if is_public_given else self.local_url
        self.sandbox = urlsplit(settings.wechat_api_url)
        if with_sandbox and self.sandbox.hostname not in LOCAL_HOSTS:
            self.with_sandbox = False
        self.logs = settings.quanma_home / "log"
        self.seeded = settings.quanma_home / "sandbox" / "seeded"
        self.environment: dict[str, str] = {}

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where this machine is going to listen."""
        sandbox = [(str(self.sandbox.hostname), self.sandbox.port or 80)] if self.with_sandbox else []
        return [(self.host, self.port), *sandbox]

    @property
    def has_demo(self) -> bool:
        """Whether a sandbox runs here in which the demo community lives."""
        return self.with_sandbox and self.seeded.exists()

    @contextmanager
    def running(self, servers: EmbeddedServers, screen: Screen) -> Iterator[Supervisor]:
        """All programs, for as long as the block lasts."""
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.environment = {
            "QUANMA_HOME": str(self.settings.quanma_home),
            "PUBLIC_URL": self.public_url,
            "DATABASE_URL": servers.urls.database_url,
            "REDIS_URL": servers.urls.redis_url,
        }

        def tell(child: Child, code: int) -> None:
            screen.say(f"  ! {child.name} 意外退出（{code}），正在重新启动；原因见 {child.log}")

        supervisor = Supervisor(on_restart=tell)
        try:
            if self.with_sandbox:
                self.start(supervisor, "sandbox", "--callback-url", f"{self.local_url}/wechat/callback")
            self.start(supervisor, "web", "--host", self.host, "--port", str(self.port))
            yield supervisor
        finally:
            supervisor.stop()

    def start(self, supervisor: Supervisor, *command: str) -> None:
        """Keep one of our commands running, with a log of its own."""
        name = "-".join(word for word in command[:2] if word.isalpha())
        supervisor.start(Child(name, quanma(*command), self.environment, self.logs / f"{name}.log"))

    def start_background(self, supervisor: Supervisor) -> None:
        """The workers and the scheduler; after the pages, for which somebody is waiting."""
        self.start(supervisor, "worker", "messages")
        self.start(supervisor, "worker", "default")
        self.start(supervisor, "worker", "slow")
        self.start(supervisor, "worker", "broadcasts")
        self.start(supervisor, "scheduler")

    def wait_until_ready(self, supervisor: Supervisor, is_told_to_stop: Callable[[], bool]) -> bool:
        """True once the pages and the sandbox answer; False if told to stop meanwhile."""
        questions = [f"{self.local_url}/readyz"]
        if self.with_sandbox:
            questions.append(f"{self.settings.wechat_api_url}/sandbox/people")
        deadline = time.monotonic() + READY_TIMEOUT_S
        while questions and not is_told_to_stop():
            supervisor.look_after()
            if time.monotonic() > deadline:
                raise click.ClickException(
                    f"{READY_TIMEOUT_S:.0f} 秒内没有启动成功，原因见 {self.logs} 里的日志。 "
                    f"Not ready within {READY_TIMEOUT_S:.0f} s; the files in {self.logs} say why."
                )
            questions = [url for url in questions if not answers(url)]
            time.sleep(TICK_S)
        return not questions

    def seed_demo(self, screen: Screen, is_told_to_stop: Callable[[], bool]) -> None:
        """The first time a sandbox runs here, let a small community have lived in it for some weeks."""
        if not self.with_sandbox or self.has_demo:
            return
        screen.say("  … 正在准备演示社区（只有第一次）")
        with subprocess.Popen(
            quanma("demo", "seed"),
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        ) as seeding:
            deadline = time.monotonic() + DEMO_TIMEOUT_S
            while seeding.poll() is None and not is_told_to_stop() and time.monotonic() < deadline:
                time.sleep(TICK_S)
            if seeding.poll() is None:
                seeding.kill()
            reason = seeding.stderr.read() if seeding.stderr else ""
        if seeding.returncode == 0:
            self.seeded.touch()
            screen.done("演示社区")
        elif not is_told_to_stop():
            screen.say(f"  ! 演示社区没有准备好：{(reason.strip().splitlines() or ['原因不明'])[-1]}")

    def welcome(self, screen: Screen) -> None:
        """The addresses, and links that sign in once."""
        sign_in = self.invite("operator", "invite", OPERATOR)
        shop_sign_in = self.invite("merchant", "invite", TEA_HOUSE.name, TEA_HOUSE.contact) if self.has_demo else None
        sandbox = self.settings.wechat_api_url if self.with_sandbox else None
        screen.say()
        screen.say(f"  网站        {self.public_url}/")
        if sandbox is not None:
            screen.say(f"  微信沙盒    {sandbox}/   （一部可以扫码、关注、聊天的手机）")
        if sign_in is not None:
            screen.say(f"  运营登录    {sign_in}   （一次性链接，72 小时内有效）")
        if shop_sign_in is not None:
            screen.say(f"  商户登录    {shop_sign_in}   （{TEA_HOUSE.name}的店主，请用另一个浏览器打开）")
        screen.say("\n按 Ctrl-C 停止。")
        if screen.as_json:
            links = {"url": self.public_url, "sandbox": sandbox, "sign_in": sign_in, "merchant_sign_in": shop_sign_in}
            click.echo(json.dumps(links, ensure_ascii=False))

    def invite(self, *command: str) -> str | None:
        """A one-time sign-in link for whoever sits at this machine; None where there is nobody to invite."""
        answer = subprocess.run(
            quanma(*command, "--json"),
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return str(json.loads(answer.stdout)["url"]) if answer.returncode == 0 else None


def quanma(*arguments: str) -> list[str]:
    """The command line of one of our commands, with this very Python."""
    return [sys.executable, "-m", "web.cli", *arguments]


def answers(url: str) -> bool:
    """It answers, and with a success."""
    try:
        with urlopen(url, timeout=5) as response:  # noqa: S310  an address of our own
            return bool(response.status == 200)
    except (URLError, OSError):
        return False
