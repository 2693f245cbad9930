"""A neighbourhood, its inbox, and WeChat in a box that turns its lists into pages early."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bot.inbox import Inbox
from core.runtime import Runtime
from core.settings import Settings
from tests.community import Neighbourhood
from tests.conftest import Program, Sandbox, environment_of, free_port, responds, wait_until

PAGE = 7
"""Openids in one page of the sandbox's follower list."""


@pytest.fixture(scope="module")
def box(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox whose pushes go nowhere and whose follower list has many pages."""
    folder = tmp_path_factory.mktemp("sandbox")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = environment_of(settings) | {
        "QUANMA_HOME": str(folder),
        "PUBLIC_URL": "http://127.0.0.1:9",
        "SANDBOX_LIMITS": f"user_page={PAGE},push_timeout_ms=300",
        **{f"WECHAT_{host}_URL": url for host in ("API", "MP", "OPEN")},
    }
    box = Sandbox(Program(("sandbox", "--port", str(port)), environment, folder / "log"), url)
    wait_until(lambda: responds(f"{url}/sandbox/log"), what="the sandbox")
    yield box
    box.program.stop()


@pytest.fixture
def sandbox(box: Sandbox) -> Sandbox:
    """An empty platform that behaves."""
    box.post("/sandbox/reset")
    box.post("/sandbox/faults", mode="replace", rules=[])
    return box


@pytest.fixture
def connected(runtime: Runtime, sandbox: Sandbox) -> Runtime:
    """The runtime, with the sandbox for its platform."""
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    return replace(runtime, settings=runtime.settings.model_copy(update=hosts))


@pytest.fixture
def street(runtime: Runtime) -> Neighbourhood:
    return Neighbourhood(runtime)


@pytest.fixture
def inbox(street: Neighbourhood) -> Inbox:
    return Inbox(street.runtime)
