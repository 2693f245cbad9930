"""The real client against WeChat in a box: both keep to the same documented platform."""

import pytest

from core.runtime import Runtime
from tests.conftest import Sandbox
from wechat.client import MenuItem, WeChatClient
from wechat.errors import BadRequest, OutcomeUnknown, RecipientRefused

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


@pytest.fixture
def client(runtime: Runtime, sandbox: Sandbox) -> WeChatClient:
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    return WeChatClient.build(runtime.settings.model_copy(update=hosts), runtime.database)


def new_person(sandbox: Sandbox, name: str) -> str:
    openid: str = sandbox.post("/sandbox/people", name=name)["openid"]
    return openid


def misbehave(sandbox: Sandbox, path: str, **deed: bool) -> None:
    """Let the next call of this path go wrong."""
    sandbox.post("/sandbox/faults", rules=[{"match": {"path": path}, "next": 1, "do": deed}])


def test_a_code_its_picture_and_the_follow_it_brings(client: WeChatClient, sandbox: Sandbox) -> None:
    code = client.create_code("counter_1", permanent=True)
    assert code.expire_seconds is None
    assert code.url.startswith("http://weixin.qq.com/q/")
    assert client.code_image(code.ticket)
    with pytest.raises(BadRequest):
        client.code_image("gQunknown")

    openid = new_person(sandbox, "安")
    assert not client.user_info(openid).following
    sandbox.post(f"/sandbox/people/{openid}/scan", ticket=code.ticket)
    info = client.user_info(openid)
    assert (info.following, info.scene, info.subscribe_scene) == (True, "counter_1", "ADD_SCENE_QR_CODE")
    assert client.users_info([openid]) == [info]
    page = client.follower_ids()
    assert openid in page.openids
    assert page.total == len(page.openids)


def test_messages_reach_somebody_who_wrote_and_nobody_else(client: WeChatClient, sandbox: Sandbox) -> None:
    stranger = new_person(sandbox, "白")
    with pytest.raises(RecipientRefused):
        client.send_text(stranger, "您好")
    talker = new_person(sandbox, "陈")
    sandbox.post(f"/sandbox/people/{talker}/follow")
    sandbox.post(f"/sandbox/people/{talker}/say", text="在吗")
    image = client.add_permanent_image(PNG, "tea.png")
    client.send_text(talker, "在的，欢迎🌶")
    client.send_image(talker, image.media_id)
    client.send_news(talker, title="茶", description="新到", url="https://q.example.test/", picurl=image.url)
    client.send_menu(talker, head="还要别的吗？", items=[MenuItem("1", "要"), MenuItem("2", "不要")])


def test_a_reply_lost_after_the_message_was_taken_is_unknown(client: WeChatClient, sandbox: Sandbox) -> None:
    talker = new_person(sandbox, "丁")
    sandbox.post(f"/sandbox/people/{talker}/follow")
    sandbox.post(f"/sandbox/people/{talker}/say", text="在吗")
    misbehave(sandbox, "/cgi-bin/message/custom/send", lost_reply=True)
    with pytest.raises(OutcomeUnknown):
        client.send_text(talker, "在的")
    messages = sandbox.get(f"/sandbox/people/{talker}/chat")["messages"]
    assert len([message for message in messages if message.get("text") == "在的"]) == 1


def test_a_revoked_token_heals_by_itself(client: WeChatClient, sandbox: Sandbox) -> None:
    client.callback_ips()
    misbehave(sandbox, "/cgi-bin/getcallbackip", revoke_token=True)
    assert client.callback_ips()


def test_the_menu_and_the_callback_check(client: WeChatClient) -> None:
    assert client.get_menu() is None
    menu = {"button": [{"type": "click", "name": "附近好店", "key": "SHOPS"}]}
    client.create_menu(menu)
    found = client.get_menu()
    assert found is not None
    assert found["button"][0]["key"] == "SHOPS"
    client.check_callback()
