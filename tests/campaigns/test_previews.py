"""Test sends reach the one person of the staff they are for, and spend no fan's slot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, text, update

from bot.inbox import Inbox
from bot.models import MessageWindow
from campaigns.broadcasts import previews
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import BroadcastWords, WordsKind
from campaigns.broadcasts.writing import Draft
from core import jobs, outbox
from core.database import Role
from core.runtime import Runtime
from merchants import identities, staff
from merchants.models import Staff, StaffRole
from tests.campaigns.desk import Desk
from tests.community import wrote
from tests.conftest import Sandbox

PREVIEW, CUSTOM = "/cgi-bin/message/mass/preview", "/cgi-bin/message/custom/send"


@pytest.fixture
def desk(runtime: Runtime, sandbox: Sandbox) -> Desk:
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    return Desk(replace(runtime, settings=runtime.settings.model_copy(update=hosts)))


def owner_bound_to(desk: Desk, openid: str) -> int:
    with desk.runtime.transaction(Role.PLATFORM) as session:
        token = staff.invite(session, name="王", role=StaffRole.OWNER, merchant_id=desk.id, now=desk.runtime.now())
        member = staff.accept(
            session, token=token, login="wang", password="seven lemons on a bicycle", now=desk.runtime.now()
        )
        identities.bind(session, member, follower_id=desk.follower(openid), now=desk.runtime.now())
        return member.id


def try_out(desk: Desk, sandbox: Sandbox, broadcast_id: int, staff_id: int) -> list[tuple[str, str]]:
    """What the platform is asked, as path and body."""
    before = len(asked(sandbox))
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        previews.ask(
            session, merchant_id=desk.id, broadcast_id=broadcast_id, staff_id=staff_id, public_url=desk.public_url
        )
    jobs.drain(desk.runtime, previews.HANDLERS, outbox.MESSAGES)
    return asked(sandbox)[before:]


def asked(sandbox: Sandbox) -> list[tuple[str, str]]:
    lines: list[dict[str, Any]] = sandbox.get("/sandbox/log", after=0, limit=10_000)
    return [(line["path"], str(line["body"])) for line in lines if line.get("path") in (PREVIEW, CUSTOM)]


def test_without_a_window_it_is_the_platforms_preview(desk: Desk, sandbox: Sandbox) -> None:
    staff_id = owner_bound_to(desk, desk.openids[0])
    ((path, body),) = try_out(desk, sandbox, desk.write("{商户}想您，{上次来|前些天}见过"), staff_id)
    assert path == PREVIEW
    assert desk.openids[0] in body
    assert "茶馆想您，前些天见过" in body


def test_in_an_open_window_it_is_said_there_with_what_is_known(desk: Desk, sandbox: Sandbox) -> None:
    openid = desk.openids[0]
    staff_id = owner_bound_to(desk, openid)
    Inbox(desk.runtime).receive([wrote(openid, desk.runtime.now())])
    ((path, body),) = try_out(desk, sandbox, desk.write("{上次来|前些天}见过"), staff_id)
    assert path == CUSTOM
    assert openid in body
    assert "3 天前见过" in body
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(MessageWindow).values(used=MessageWindow.allowance - 2))
    ((path, _body),) = try_out(desk, sandbox, desk.write(), staff_id)
    assert path == PREVIEW, "the last two messages of a window stay for answers"


def test_an_article_is_previewed_as_a_draft_that_nothing_else_uses(desk: Desk, sandbox: Sandbox) -> None:
    staff_id = owner_bound_to(desk, desk.openids[0])
    words = Words(WordsKind.ARTICLE, "正文", title="题", picture_id=desk.picture())
    ((path, body),) = try_out(desk, sandbox, desk.write(Draft({"a": words})), staff_id)
    assert path == PREVIEW
    assert "mpnews" in body
    with desk.runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(BroadcastWords.media_id)) is None


def test_whoever_left_the_shop_or_the_account_gets_nothing(desk: Desk, sandbox: Sandbox) -> None:
    staff_id = owner_bound_to(desk, desk.openids[0])
    broadcast_id = desk.write()
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        previews.ask(
            session, merchant_id=desk.id, broadcast_id=broadcast_id, staff_id=staff_id, public_url=desk.public_url
        )
    before = len(asked(sandbox))
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(Staff).where(Staff.id == staff_id).values(disabled_at=desk.runtime.now()))
    jobs.drain(desk.runtime, previews.HANDLERS, outbox.MESSAGES)
    assert len(asked(sandbox)) == before
    with desk.runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT count(*) FROM fan_month_quota")).scalar_one() == 0
