"""A shop, its people, and a fan who talks to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bot import store
from bot.inbox import Inbox
from bot.talks import intake
from bot.talks.intake import Said
from bot.talks.models import Kind
from core.database import Role
from core.runtime import Runtime
from merchants import identities
from tests.community import Code, Neighbourhood, new_openid, subscribed
from wechat.replies import Reply


@dataclass
class Shop:
    """A merchant with two people at its desk."""

    runtime: Runtime
    inbox: Inbox
    code: Code
    merchant_id: int
    owner: int
    clerk: int
    now: datetime
    openids: dict[int, str] = field(default_factory=dict)

    def fan(self, openid: str = "", *, at: datetime | None = None) -> int:
        """Somebody who scanned the shop's code, and follows."""
        openid = openid or new_openid()
        when = at or self.now - timedelta(days=5)
        self.inbox.receive([subscribed(openid, when, self.code.scene)])
        with self.runtime.transaction(Role.PLATFORM) as session:
            follower_id: int = session.execute(
                text("SELECT id FROM follower WHERE openid = :openid"), {"openid": openid}
            ).scalar_one()
        self.openids[follower_id] = openid
        return follower_id

    def said(
        self,
        follower_id: int,
        words: str | None = "在吗？",
        *,
        at: datetime | None = None,
        kind: Kind = Kind.TEXT,
        media: str | None = None,
        auto: Sequence[Reply] = (),
        auto_by: str = "",
        waits: bool = True,
        window: bool = True,
    ) -> int:
        """The fan writes; returns the talk. With `window` it opens one of this merchant's conversation."""
        when = at or self.now
        with self.runtime.transaction(Role.PLATFORM) as session:
            connection = store.driver(session)
            inbox_id: int = session.execute(text("SELECT nextval('inbox_event_id_seq')")).scalar_one()
            one = Said(
                self.merchant_id,
                follower_id,
                identities.fan_number(self.runtime, self.merchant_id, follower_id),
                inbox_id,
                when,
                kind,
                words,
                media,
                auto,
                auto_by,
                waits,
            )
            put(connection, [one])
            if window:
                session.execute(_WINDOW, {"inbox": inbox_id, "who": follower_id, "shop": self.merchant_id, "at": when})
            return int(
                session.execute(
                    text("SELECT id FROM talk WHERE merchant_id = :m AND follower_id = :f"),
                    {"m": self.merchant_id, "f": follower_id},
                ).scalar_one()
            )

    def talk(self, talk_id: int) -> Any:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return session.execute(text("SELECT * FROM talk WHERE id = :id"), {"id": talk_id}).one()

    def messages(self, talk_id: int) -> Sequence[Any]:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return session.execute(
                text("SELECT * FROM talk_message WHERE talk_id = :id ORDER BY at, id"), {"id": talk_id}
            ).all()

    def states(self, talk_id: int) -> list[str]:
        """What became of the answers, in the order in which they were written."""
        return [one.state for one in sorted(self.messages(talk_id), key=lambda m: m.id) if one.direction == "out"]

    def enquiries(self, talk_id: int) -> Sequence[Any]:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return session.execute(text("SELECT * FROM enquiry WHERE talk_id = :id ORDER BY id"), {"id": talk_id}).all()


_WINDOW = text("""
    INSERT INTO message_window (inbox_id, follower_id, merchant_id, trigger, opened_at, expires_at, allowance)
    VALUES (:inbox, :who, :shop, 'message', :at, CAST(:at AS timestamptz) + interval '48 hours', 5)""")


def put(connection: store.Driver, said: Sequence[Said]) -> None:
    """Write what was said as the inbox does."""
    changes: dict[str, list[dict[str, Any]]] = {name: [] for name in intake.WRITES}
    for one in said:
        for name, rows in intake.rows(one).items():
            changes[name] += rows
    with connection.pipeline():
        for name, statement in intake.WRITES.items():
            if changes[name]:
                connection.execute(statement, {"rows": store.as_json(changes[name])})


def open_shop(runtime: Runtime, inbox: Inbox, street: Neighbourhood, name: str) -> Shop:
    merchant_id = street.merchant(name)
    with runtime.transaction(Role.PLATFORM) as session:
        owner, clerk = (
            session.execute(
                text("INSERT INTO staff (merchant_id, role, name) VALUES (:id, :role, :name) RETURNING id"),
                {"id": merchant_id, "role": role, "name": person},
            ).scalar_one()
            for role, person in (("owner", "王老板"), ("clerk", "小李"))
        )
    return Shop(runtime, inbox, street.code(merchant_id), merchant_id, owner, clerk, now=street.now)


@pytest.fixture
def shop(runtime: Runtime, inbox: Inbox, street: Neighbourhood) -> Shop:
    return open_shop(runtime, inbox, street, "王记水果")


@pytest.fixture
def other_shop(runtime: Runtime, inbox: Inbox, street: Neighbourhood) -> Shop:
    return open_shop(runtime, inbox, street, "李家面馆")
