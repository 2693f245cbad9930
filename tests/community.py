"""A small community for tests: an account, merchants and codes that work, and events as WeChat would send them."""

import hashlib
import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import update

from bot.events import MenuClicked, Scanned, Subscribed, TextMessage, Unsubscribed
from core.database import Role
from core.runtime import Runtime
from merchants import merchants
from merchants.models import OfficialAccount
from qrcodes import codes
from qrcodes.models import CodeState, SubQrCode

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Code:
    id: int
    merchant_id: int
    scene: str


class Neighbourhood:
    """Adds merchants and ready codes, and keeps the account's going live in the past."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.now = runtime.now().replace(microsecond=0)
        with runtime.transaction(Role.PLATFORM) as session:
            self.account_id = merchants.ensure_account(session, runtime.settings)
            self.community_id = merchants.ensure_community(session, account_id=self.account_id)
            session.execute(update(OfficialAccount).values(live_since=self.now - timedelta(days=200)))

    def merchant(self, name: str) -> int:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return merchants.add(
                session, account_id=self.account_id, community_id=self.community_id, name=name, now=self.now
            ).id

    def code(self, merchant_id: int, label: str = "前台", *, since: timedelta = timedelta(days=100)) -> Code:
        """A code that has been hanging there for a while."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            wanted = codes.Wanted(label=label)
            code = codes.add(session, merchant_id=merchant_id, wanted=wanted, now=self.now - since)
            session.execute(
                update(SubQrCode)
                .where(SubQrCode.id == code.id)
                .values(state=CodeState.ACTIVE, ticket=f"gQ{code.scene}", url=f"http://weixin.qq.com/q/{code.scene}")
            )
            return Code(code.id, merchant_id, code.scene)


def new_openid() -> str:
    return f"oTest{next(_numbers):023d}"


def _key(*parts: object) -> str:
    return "e:" + hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def subscribed(openid: str, at: datetime, scene: str | None = None) -> Subscribed:
    return Subscribed(
        openid=openid, occurred_at=at, dedupe_key=_key("s", openid, at, scene), fields={}, scene=scene, ticket=None
    )


def scanned(openid: str, at: datetime, scene: str | None) -> Scanned:
    return Scanned(
        openid=openid, occurred_at=at, dedupe_key=_key("c", openid, at, scene), fields={}, scene=scene, ticket=None
    )


def unsubscribed(openid: str, at: datetime) -> Unsubscribed:
    return Unsubscribed(openid=openid, occurred_at=at, dedupe_key=_key("u", openid, at), fields={})


def wrote(openid: str, at: datetime, content: str = "你好") -> TextMessage:
    return TextMessage(
        openid=openid, occurred_at=at, dedupe_key=_key("t", openid, at, content), fields={"Content": content},
        content=content,
    )  # fmt: skip


def clicked(openid: str, at: datetime, key: str = "MENU") -> MenuClicked:
    return MenuClicked(openid=openid, occurred_at=at, dedupe_key=_key("k", openid, at, key), fields={}, key=key)
