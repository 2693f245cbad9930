"""The real client against WeChat in a box: both keep to the same documented platform."""

import pytest

from core.runtime import Runtime
from tests.conftest import Sandbox, wait_until
from wechat.client import MenuItem, WeChatClient
from wechat.errors import AlreadyAccepted, BadRequest, OutcomeUnknown, RecipientRefused, WaitAMinute
from wechat.mass import DraftArticle, MassAccepted, MassArticles, MassContent, MassImage, MassState, MassText

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


def misbehave(sandbox: Sandbox, path: str, **deed: object) -> None:
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
    client.send_image(talker, client.add_temporary_image(PNG, "cup.png"))
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


MASS_SEND = "/cgi-bin/message/mass/send"


def new_followers(sandbox: Sandbox) -> list[str]:
    people = sandbox.post("/sandbox/people", people=[{"name": name, "following": True} for name in "戊己"])["people"]
    return [person["openid"] for person in people]


def chat(sandbox: Sandbox, openid: str) -> list[dict[str, str]]:
    messages: list[dict[str, str]] = sandbox.get(f"/sandbox/people/{openid}/chat")["messages"]
    return messages


def test_a_broadcast_of_every_kind(client: WeChatClient, sandbox: Sandbox) -> None:
    people = new_followers(sandbox)
    cover = client.add_permanent_image(PNG, "tea.png")
    inside = client.upload_content_image(PNG, "leaf.png")
    article = DraftArticle(
        title="春" * 32,
        content=f'<p>新茶</p><img src="{inside}">',
        thumb_media_id=cover.media_id,
        author="店" * 16,
        digest="尝" * 128,
        source_url="https://q.example.test/",
    )
    draft = client.add_draft([article, article])
    client.mass_preview(people[0], MassArticles(draft))
    before = client.quota(MASS_SEND)
    accepted = client.mass_send(people, MassArticles(draft), "every-kind-1")
    assert accepted.msg_data_id is not None
    others: list[MassContent] = [MassText("茶到了"), MassImage(cover.media_id)]
    for number, content in enumerate(others):
        other = client.mass_send(people, content, f"every-kind-2-{number}")
        assert other == MassAccepted(other.msg_id, None)
    after = client.quota(MASS_SEND)
    assert (after.daily_limit, after.used - before.used, before.remain - after.remain) == (100, 3, 3)
    assert [message["type"] for message in chat(sandbox, people[1])] == ["news", "text", "image"]
    wait_until(lambda: client.mass_state(accepted.msg_id) is MassState.SENT, what="the end of the send")
    client.mass_delete(accepted.msg_id, 1)
    assert client.mass_state(accepted.msg_id) is MassState.SENT
    client.mass_delete(accepted.msg_id)
    assert client.mass_state(accepted.msg_id) is MassState.DELETED


def test_a_batch_handed_over_again_is_found_under_its_number(client: WeChatClient, sandbox: Sandbox) -> None:
    people = new_followers(sandbox)
    misbehave(sandbox, MASS_SEND, lost_reply=True)
    with pytest.raises(OutcomeUnknown):
        client.mass_send(people, MassText("茶到了"), "again")
    with pytest.raises(WaitAMinute):
        client.mass_send(people, MassText("茶到了"), "again")
    sandbox.post("/sandbox/clock", advance_seconds=61)
    with pytest.raises(AlreadyAccepted) as known:
        client.mass_send(people, MassText("茶到了"), "again")
    msg_id = known.value.msg_id
    assert msg_id is not None
    wait_until(lambda: client.mass_state(msg_id) is MassState.SENT, what="the end of the send")
    assert len(chat(sandbox, people[0])) == 1


def test_a_first_try_may_be_called_a_repetition(client: WeChatClient, sandbox: Sandbox) -> None:
    people = new_followers(sandbox)
    misbehave(sandbox, MASS_SEND, errcode=45065, accept=True)
    with pytest.raises(AlreadyAccepted) as own:
        client.mass_send(people, MassText("一"), "first-try-1")
    misbehave(sandbox, MASS_SEND, errcode=45065)
    with pytest.raises(AlreadyAccepted) as another:
        client.mass_send(people, MassText("二"), "first-try-2")
    assert another.value.msg_id == own.value.msg_id
    assert [message["text"] for message in chat(sandbox, people[0])] == ["一"]


def test_the_speed_of_mass_sends(client: WeChatClient) -> None:
    client.set_mass_speed(3)
    assert client.mass_speed() == 3
