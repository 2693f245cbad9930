"""From the phone to the inbox and back, with nothing in between replaced."""

from datetime import timedelta

from sqlalchemy import text

from bot.inbox import Inbox
from core.database import Role
from core.runtime import Runtime
from tests.bot.talks.conftest import open_shop
from tests.bot.talks.test_answers import heard, send, write
from tests.community import Neighbourhood, new_openid, wrote
from tests.conftest import Sandbox, advance


def test_what_was_written_after_closing_time_is_read_answered_and_heard_at_the_next_hello(
    connected: Runtime, street: Neighbourhood, sandbox: Sandbox
) -> None:
    inbox = Inbox(connected)
    shop = open_shop(connected, inbox, street, "王记水果")
    openid = new_openid()
    sandbox.post("/sandbox/people", openid=openid)
    sandbox.post(f"/sandbox/people/{openid}/follow?wait=0")
    ann = shop.fan(openid, at=shop.now - timedelta(hours=1))

    def says(words: str) -> str:
        sandbox.post(f"/sandbox/people/{openid}/say?wait=0", text=words)
        (reply,) = inbox.receive([wrote(openid, connected.now().replace(microsecond=0), words)])
        return reply or ""

    assert "王记水果" in says("猫山王榴莲还有货吗")
    with connected.transaction(Role.PLATFORM) as session:
        (talk_id,) = session.scalars(text("SELECT id FROM talk"))
    assert (shop.talk(talk_id).state, shop.talk(talk_id).follower_id) == ("waiting", ann)
    assert [m.direction for m in shop.messages(talk_id)] == ["in", "auto"]

    advance(connected, timedelta(hours=47))
    assert "聊天" in says("那榴莲千层呢")
    advance(connected, timedelta(hours=47))
    write(shop, talk_id, "都有，给您留着")
    send(connected)
    assert heard(sandbox, shop, ann) == ["都有，给您留着"]

    advance(connected, timedelta(hours=30))
    write(shop, talk_id, "今天到新货了")
    send(connected)
    assert shop.states(talk_id) == ["sent", "waiting"]
    says("好的我晚上来拿")
    send(connected)
    assert heard(sandbox, shop, ann) == ["都有，给您留着", "今天到新货了"]
    assert shop.states(talk_id) == ["sent", "sent"]
