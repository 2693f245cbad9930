"""Codes and pictures reach the platform: once, with the same scene whatever happens in between, or later."""

import io
import json

import pytest
import requests
import zxingcpp
from PIL import Image
from sqlalchemy import select, update

from core import jobs, outbox
from core.database import Role
from core.models import Outbox
from core.outbox import TryLater
from core.runtime import Runtime
from merchants import pictures
from merchants.models import Picture
from qrcodes import codes, images
from qrcodes.codes import Wanted
from qrcodes.jobs import HANDLERS, make_code
from qrcodes.models import CodeState, SubQrCode
from tests.conftest import Sandbox
from tests.qrcodes.conftest import Street
from wechat.client import WeChatClient
from wechat.errors import OutcomeUnknown, WeChatError

CREATE_PATH = "/cgi-bin/qrcode/create"


def plan(runtime: Runtime, street: Street, *, days: int | None = None, label: str = "收银台") -> SubQrCode:
    with runtime.transaction(Role.PLATFORM) as session:
        wanted = Wanted(label, days=days)
        return codes.add(session, merchant_id=street.flowers, wanted=wanted, now=runtime.now())


def stored(runtime: Runtime, code_id: int) -> SubQrCode:
    with runtime.transaction(Role.PLATFORM) as session:
        return session.get_one(SubQrCode, code_id)


def drain(runtime: Runtime) -> int:
    return jobs.drain(runtime, HANDLERS, outbox.DEFAULT)


def misbehave(sandbox: Sandbox, **deed: int | bool) -> None:
    sandbox.post("/sandbox/faults", rules=[{"match": {"path": CREATE_PATH}, "next": 1, "do": deed}])


def scenes_asked(sandbox: Sandbox, scene: str) -> int:
    """How often the platform accepted a call for this scene."""
    text = requests.get(f"{sandbox.url}/sandbox/log", params={"after": 0, "limit": 10_000}, timeout=10).text
    lines = [json.loads(line) for line in text.splitlines()]
    calls = [line for line in lines if line.get("path") == CREATE_PATH and line["accepted"]]
    return len([call for call in calls if scene in str(call["body"])])


def test_planned_code_becomes_one_that_wechat_reads(connected: Runtime, street: Street) -> None:
    planned = plan(connected, street)
    assert drain(connected) == 1
    code = stored(connected, planned.id)
    assert (code.state, code.scene, code.expires_at) == (CodeState.ACTIVE, planned.scene, None)
    assert code.ticket
    assert code.url
    drawn = zxingcpp.read_barcodes(Image.open(io.BytesIO(images.png(code.url))).convert("L"))
    client = WeChatClient.build(connected.settings, connected.database)
    theirs = zxingcpp.read_barcodes(Image.open(io.BytesIO(client.code_image(code.ticket))))
    assert [found.text for found in drawn] == [found.text for found in theirs] == [code.url]
    assert drain(connected) == 0


def test_temporary_code_knows_when_it_ends(connected: Runtime, street: Street) -> None:
    before = connected.now()
    planned = plan(connected, street, days=7)
    drain(connected)
    code = stored(connected, planned.id)
    assert code.expires_at is not None
    assert 7 * 86_400 <= (code.expires_at - before).total_seconds() < 7 * 86_400 + 60


def test_lost_reply_and_every_repeat_ask_for_the_same_scene(
    connected: Runtime, street: Street, sandbox: Sandbox
) -> None:
    planned = plan(connected, street)
    misbehave(sandbox, lost_reply=True)
    with pytest.raises(OutcomeUnknown):
        make_code(connected, planned.id)
    assert stored(connected, planned.id).state == CodeState.PLANNED
    make_code(connected, planned.id)
    code = stored(connected, planned.id)
    assert (code.state, code.scene) == (CodeState.ACTIVE, planned.scene)
    make_code(connected, planned.id)
    assert stored(connected, planned.id).ticket == code.ticket
    assert scenes_asked(sandbox, planned.scene) == 2
    with connected.transaction(Role.PLATFORM) as session:
        assert session.scalars(select(SubQrCode.scene)).all() == [planned.scene]


@pytest.mark.parametrize("errcode", [45011, 45009, 45029])
def test_limits_are_waited_out(connected: Runtime, street: Street, sandbox: Sandbox, errcode: int) -> None:
    planned = plan(connected, street)
    misbehave(sandbox, errcode=errcode)
    with connected.transaction(Role.PLATFORM) as session:
        task = outbox.claim(session, outbox.DEFAULT)
    assert task is not None
    with pytest.raises(TryLater):
        HANDLERS[codes.CREATE](connected, task)
    HANDLERS[codes.CREATE](connected, task)
    assert stored(connected, planned.id).state == CodeState.ACTIVE


def test_refusal_is_kept_for_the_operator_to_see(connected: Runtime, street: Street, sandbox: Sandbox) -> None:
    planned = plan(connected, street)
    misbehave(sandbox, errcode=48001)
    assert drain(connected) == 1
    assert stored(connected, planned.id).state == CodeState.PLANNED
    with connected.transaction(Role.PLATFORM) as session:
        assert session.scalars(select(Outbox.last_error)).all() == ["Misconfigured"]
        session.execute(update(Outbox).values(next_try_at=Outbox.created_at))
    assert drain(connected) == 1
    assert stored(connected, planned.id).state == CodeState.ACTIVE


def test_unreachable_platform_leaves_the_code_planned(runtime: Runtime, street: Street) -> None:
    planned = plan(runtime, street)
    with pytest.raises(WeChatError):
        make_code(runtime, planned.id)
    assert stored(runtime, planned.id).state == CodeState.PLANNED


def test_code_retired_while_planned_is_not_asked_for(connected: Runtime, street: Street, sandbox: Sandbox) -> None:
    planned = plan(connected, street)
    with connected.transaction(Role.PLATFORM) as session:
        codes.retire(session, merchant_id=street.flowers, code_id=planned.id, now=connected.now())
    assert drain(connected) == 1
    assert scenes_asked(sandbox, planned.scene) == 0


def test_picture_becomes_permanent_material_once(connected: Runtime, street: Street) -> None:
    file = io.BytesIO()
    Image.new("RGB", (200, 200), "teal").save(file, "PNG")
    prepared = pictures.prepare(file.getvalue())
    with connected.transaction(Role.MERCHANT, merchant_id=street.flowers) as session:
        picture_id = pictures.save(session, merchant_id=street.flowers, picture=prepared, public_id="p1")
    assert drain(connected) == 1
    with connected.transaction(Role.PLATFORM) as session:
        picture = session.get_one(Picture, picture_id)
        media_id = picture.media_id
        assert media_id
        assert picture.wechat_url
        session.execute(update(Outbox).values(state="pending", next_try_at=Outbox.created_at))
    assert drain(connected) == 1
    with connected.transaction(Role.PLATFORM) as session:
        assert session.get_one(Picture, picture_id).media_id == media_id
