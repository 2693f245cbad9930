"""Two merchants of one community, and a runtime that talks to WeChat in a box."""

from dataclasses import dataclass, replace

import pytest

from core.database import Role
from core.runtime import Runtime
from merchants import merchants
from tests.conftest import Sandbox


@dataclass(frozen=True)
class Street:
    """Who a story is about."""

    account_id: int
    flowers: int
    books: int


@pytest.fixture
def street(runtime: Runtime) -> Street:
    with runtime.transaction(Role.PLATFORM) as session:
        account_id = merchants.ensure_account(session, runtime.settings)
        community_id = merchants.ensure_community(session, account_id=account_id, name="翠园")
        flowers, books = (
            merchants.add(session, account_id=account_id, community_id=community_id, name=name, now=runtime.now()).id
            for name in ("花店", "书店")
        )
    return Street(account_id, flowers, books)


@pytest.fixture
def connected(runtime: Runtime, sandbox: Sandbox) -> Runtime:
    """The runtime, with the sandbox for its platform."""
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    return replace(runtime, settings=runtime.settings.model_copy(update=hosts))
