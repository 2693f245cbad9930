"""消息: what customers say comes in, what is answered goes out once, and nothing of it is anybody else's."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from bot import store
from bot.talks import desk, enquiries
from bot.talks.intake import Said
from bot.talks.models import AnswerState, CannedReply, DeskWords, Direction, Kind, Talk, TalkMessage, Why, WordsKind
from core.clock import business_day, start_of_day
from core.database import Role
from core.models import AuditLog, Outbox
from core.runtime import Runtime
from merchants import identities
from merchants.models import StaffRole
from tests.bot.talks.conftest import put
from tests.community import Neighbourhood
from tests.conftest import advance, statements
from tests.web.conftest import Browser
from tests.web.shops import Shop, open_shop, photo
from web.auth import access
from web.merchant.talk_words import answer_state, clock_words, lasting
from web.merchant.talks import PICTURES
from web.merchant.words import fan_number

HOME = "/merchant/talks"
PART = {"HX-Request": "true"}
PROGRAM = {"Accept": "application/json"}
WINDOW = text("""
    INSERT INTO message_window (inbox_id, follower_id, merchant_id, trigger, opened_at, expires_at, allowance)
    VALUES (:inbox, :who, :shop, 'message', :at, CAST(:at AS timestamptz) + interval '48 hours', 5)""")


class Inn(Shop):
    """A shop whose customers write to it."""

    def hears(
        self,
        openid: str,
        words: str,
        *,
        ago: timedelta = timedelta(0),
        kind: Kind = Kind.TEXT,
        media: str | None = None,
    ) -> int:
        """Somebody writes to the shop, which opens a window; the talk it is in."""
        at = self.runtime.now() - ago
        with self.runtime.transaction(Role.PLATFORM) as session:
            who = {"openid": openid, "shop": self.merchant_id}
            whose = session.execute(text("SELECT id FROM follower WHERE openid = :openid"), who).scalar_one()
            inbox_id = session.execute(text("SELECT nextval('inbox_event_id_seq')")).scalar_one()
            number = identities.fan_number(self.runtime, self.merchant_id, whose)
            put(
                store.driver(session), [Said(self.merchant_id, whose, number, inbox_id, at, kind, words or None, media)]
            )
            session.execute(WINDOW, {"inbox": inbox_id, "who": whose, "shop": self.merchant_id, "at": at})
            found = text("SELECT id FROM talk WHERE merchant_id = :shop AND follower_id = :whose")
            talk_id: int = session.execute(found, who | {"whose": whose}).scalar_one()
            return talk_id

    def messages(self, talk_id: int, direction: Direction) -> list[TalkMessage]:
        with self.runtime.transaction(Role.PLATFORM) as session:
            mine = select(TalkMessage).where(TalkMessage.talk_id == talk_id, TalkMessage.direction == direction)
            found = list(session.scalars(mine.order_by(TalkMessage.id)))
            session.expunge_all()
            return found

    def answers(self, talk_id: int) -> list[tuple[str, str | None]]:
        return [(one.kind, one.content) for one in self.messages(talk_id, Direction.OUT)]

    def talk(self, talk_id: int) -> Talk:
        with self.runtime.transaction(Role.PLATFORM) as session:
            talk = session.get_one(Talk, talk_id)
            session.expunge(talk)
            return talk

    def says(
        self, talk_id: int, words: str = "", *, nonce: str = "n1", who: Browser | None = None, **fields: Any
    ) -> Any:
        """Somebody of the staff, by the script of the page."""
        browser = who or self.owner
        browser.get(f"{HOME}/{talk_id}")
        data = {"text": words, "nonce": nonce, **fields}
        return browser.post(f"{HOME}/{talk_id}/messages", data, headers=PROGRAM)


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Inn:
    opened = open_shop(app, Neighbourhood(runtime), new_staff, "老王豆浆", "wang")
    return Inn(opened.street, opened.merchant_id, opened.owner, opened.code)


@pytest.fixture
def clerk(app: Flask, shop: Inn, new_staff: Callable[..., int]) -> Browser:
    new_staff("xiaoli", StaffRole.CLERK, shop.merchant_id)
    browser = Browser(app.test_client())
    assert browser.sign_in("xiaoli").status_code == 303
    browser.get("/merchant/me")
    return browser


def plain(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def listed(page: str) -> list[int]:
    return [int(one) for one in re.findall(r'<li data-key="(\d+)"><a class="talk-row', page)]


def title(page: str) -> str:
    found = re.search(r"<title>(.*?)</title>", page)
    assert found is not None
    return found[1]


# ---- The list --------------------------------------------------------------------------------------------------------


def test_without_talks_the_page_says_where_they_come_from(shop: Inn) -> None:
    assert "都回复了" in shop.owner.get(HOME).text
    assert "去拿二维码" in shop.owner.get(f"{HOME}?box=all").text
    assert title(shop.owner.get(HOME).text) == "消息 · 圈码"
    assert "在等回复" not in plain(shop.owner.get("/merchant/").text).replace("位在等回复", "")


def test_a_message_waits_in_the_list_on_the_tab_and_on_todays_page(shop: Inn) -> None:
    openid = shop.welcomes_somebody(ago=timedelta(hours=1))
    talk_id = shop.hears(openid, "今天几点关门？", ago=timedelta(minutes=12))
    page = shop.owner.get(HOME).text
    assert listed(page) == [talk_id]
    assert "今天几点关门？" in page
    assert "等了 12 分钟" in page
    assert "1 条没看" in page
    assert title(page) == "(1) 消息 · 圈码"
    assert openid not in page
    assert "1 位客人在等回复" in shop.owner.get("/merchant/").text
    assert re.search(r"data-waiting-badge><span>1</span>", shop.owner.get("/merchant/fans").text)
    (number,) = shop.numbers()
    assert f'href="{HOME}/{talk_id}"' in shop.owner.get(f"/merchant/fans/{number}").text


def test_each_box_shows_its_own_and_counts_them(shop: Inn, clerk: Browser) -> None:
    waiting, answered, taken = (
        shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), words, ago=timedelta(minutes=minutes))
        for words, minutes in (("还有包子吗", 5), ("几点开门", 6), ("能送货吗", 7))
    )
    assert shop.says(answered, "六点").status_code == 201
    with shop.runtime.transaction(Role.PLATFORM) as session:
        clerk_id = session.execute(text("SELECT id FROM staff WHERE login = 'xiaoli'")).scalar_one()
    shop.owner.get(f"{HOME}/{taken}")
    assert shop.owner.post(f"{HOME}/{taken}/assign", {"staff": str(clerk_id)}).status_code == 303
    assert listed(shop.owner.get(HOME).text) == [taken, waiting], "who has waited longest comes first"
    assert listed(shop.owner.get(f"{HOME}?box=mine").text) == []
    assert listed(clerk.get(f"{HOME}?box=mine").text) == [taken]
    assert set(listed(shop.owner.get(f"{HOME}?box=unassigned").text)) == {waiting, answered}
    assert len(listed(shop.owner.get(f"{HOME}?box=all").text)) == 3
    shop.owner.get(f"{HOME}/{answered}")
    assert shop.owner.post(f"{HOME}/{answered}/close").status_code == 303
    assert listed(shop.owner.get(f"{HOME}?box=closed").text) == [answered]
    assert "待回复 2 我的 1 未分配 1 已结束 全部" in plain(clerk.get(HOME).text)


def test_talks_are_found_by_what_was_said_and_by_who_it_was(shop: Inn) -> None:
    first, second = shop.welcomes_somebody(ago=timedelta(hours=2)), shop.welcomes_somebody(ago=timedelta(hours=1))
    one, two = shop.hears(first, "周六的营业时间是几点到几点"), shop.hears(second, "包子还有吗")
    newest, oldest = shop.numbers()
    shop.owner.get(f"{HOME}/{one}")
    assert shop.owner.post(f"{HOME}/{one}/fan", {"note": "八号楼张姐", "tags": "常客，老师"}).status_code == 303
    assert shop.talk(two).number == newest
    for words, found in (
        ("营业", [one]),
        ("营业时间", [one]),
        ("包子", [two]),
        ("张姐", [one]),
        ("老师", [one]),
        (newest, [two]),
        (fan_number(oldest).lower(), [one]),
        ("没说过", []),
    ):
        page = shop.owner.get(HOME, query_string={"q": words}).text
        assert listed(page) == found, words
    assert "没有找到" in page


def test_pages_by_key_show_every_talk_once(shop: Inn) -> None:
    expected = {
        shop.hears(shop.welcomes_somebody(ago=timedelta(hours=2)), "在吗", ago=timedelta(minutes=number // 9))
        for number in range(45)
    }
    for box in ("waiting", "all"):
        seen: list[int] = []
        path: str | None = f"{HOME}?box={box}"
        while path:
            page = shop.owner.get(path).text
            seen += listed(page)
            older = re.search(r'rel="next" href="([^"]+)"', page)
            path = older[1].replace("&amp;", "&") if older else None
        assert len(seen) == len(expected) == 45
        assert set(seen) == expected


def test_who_has_waited_too_long_stays_and_is_said_to_be_answered_at_the_next_visit(shop: Inn) -> None:
    fresh, old = (
        shop.hears(shop.welcomes_somebody(ago=timedelta(days=4)), "在吗", ago=timedelta(hours=hours))
        for hours in (47, 49)
    )
    page = shop.owner.get(HOME).text
    assert listed(page) == [old, fresh]
    assert page.count("回复要等客人下次来访时发") == 1
    assert "等了 49 小时" in page
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE talk SET preview = NULL WHERE id = :id"), {"id": old})
    assert "[满 30 天，内容已删除]" in shop.owner.get(HOME).text
    assert title(page).startswith("(2)")


def test_the_export_holds_nothing_of_what_was_said(shop: Inn, clerk: Browser) -> None:
    openid = shop.welcomes_somebody(ago=timedelta(hours=1))
    shop.hears(openid, "=我的电话在门口")
    shop.owner.get(HOME)
    answer = shop.owner.post(f"{HOME}/export", {"box": "all"})
    rows = list(csv.reader(io.StringIO(answer.get_data().decode("utf-8-sig"))))
    assert len(rows) == 2
    assert rows[1][0] == fan_number(shop.numbers()[0])
    assert rows[1][3] == "待回复"
    assert openid not in answer.text
    assert "电话" not in answer.text
    clerk.get(HOME)
    assert clerk.post(f"{HOME}/export", {"box": "all"}).status_code == 403


# ---- What keeps itself up to date ------------------------------------------------------------------------------------


def test_a_part_that_looks_the_same_is_answered_304_and_read_from_a_few_rows(shop: Inn) -> None:
    openid = shop.welcomes_somebody(ago=timedelta(hours=1))
    talk_id = shop.hears(openid, "在吗")
    for path in (HOME, f"{HOME}/{talk_id}"):
        answer = shop.owner.get(path, headers=PART)
        assert "<html" not in answer.text
        etag = answer.headers["ETag"]
        with statements(shop.runtime, Role.MERCHANT) as asked:
            assert shop.owner.get(path, headers={**PART, "If-None-Match": etag}).status_code == 304
        assert not any("talk_message" in one for one in asked)
        shop.hears(openid, f"有人吗 {path}")
        newer = shop.owner.get(path, headers={**PART, "If-None-Match": etag})
        assert newer.status_code == 200
        assert f"有人吗 {path}" in newer.text


def test_the_open_list_does_not_call_yesterday_today(shop: Inn) -> None:
    midnight = start_of_day(business_day(shop.runtime.now()) + timedelta(days=1))
    advance(shop.runtime, midnight - timedelta(minutes=5) - shop.runtime.now())
    shop.owner.sign_in("wang")
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=30)), "在吗")
    assert shop.says(talk_id, "在的").status_code == 201
    before = shop.owner.get(f"{HOME}?box=all", headers=PART)
    assert ">今天 23:5" in before.text
    advance(shop.runtime, timedelta(minutes=6))
    after = shop.owner.get(f"{HOME}?box=all", headers={**PART, "If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert ">昨天 23:5" in after.text


def test_every_change_of_an_answer_is_seen_by_who_has_the_talk_open(shop: Inn, clerk: Browser) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "在吗")
    etag = clerk.get(f"{HOME}/{talk_id}", headers=PART).headers["ETag"]
    assert shop.says(talk_id, "在的").status_code == 201
    answer = clerk.get(f"{HOME}/{talk_id}", headers={**PART, "If-None-Match": etag})
    assert "在的" in answer.text
    assert "正在送" in answer.text
    (message,) = shop.messages(talk_id, Direction.OUT)
    window = text("UPDATE talk_message SET state = 'calling', window_id = 1 WHERE id = :id")
    refused = text("UPDATE talk_message SET state = 'refused', why = 'platform', errcode = 45047 WHERE id = :id")
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(window, {"id": message.id})
        session.execute(refused, {"id": message.id})
    later = clerk.get(f"{HOME}/{talk_id}", headers={**PART, "If-None-Match": answer.headers["ETag"]})
    assert "被拒：客人发来消息以后能回的条数已经用完了" in later.text
    assert "45047" not in later.text
    assert 'data-rewrite="在的"' in later.text, "it can be said in other words"


def test_refusals_are_told_in_words_where_they_are_known(app: Flask) -> None:
    def told(why: Why, errcode: int | None) -> str:
        shown = SimpleNamespace(state=AnswerState.REFUSED, why=why, errcode=errcode)
        return answer_state(shown)

    with app.test_request_context("/merchant/talks"):
        assert "今天能发的次数用完了" in told(Why.PLATFORM, 45009)
        assert "48 小时" in told(Why.CLOSED, 45015)
        assert "取消关注" in told(Why.LEFT, 43004)
        assert told(Why.PLATFORM, 40001) == "被拒：平台没有接受（微信代码 40001）"


def test_seeing_a_talk_takes_its_badge_away(shop: Inn) -> None:
    openid = shop.welcomes_somebody(ago=timedelta(hours=1))
    talk_id = shop.hears(openid, "在吗")
    page = shop.owner.get(f"{HOME}/{talk_id}").text
    newest = re.search(r'data-newest="(\d+)"', page)
    assert newest is not None
    shop.hears(openid, "还在吗")
    assert shop.owner.post(f"{HOME}/{talk_id}/seen", {"up_to": newest[1]}, headers=PROGRAM).status_code == 200
    assert shop.talk(talk_id).unread == 1, "what came since stays unread"


def test_older_messages_come_page_by_page(shop: Inn) -> None:
    openid = shop.welcomes_somebody(ago=timedelta(hours=3))
    for number in range(57):
        talk_id = shop.hears(openid, f"第{number}句", ago=timedelta(minutes=100 - number))
    page = shop.owner.get(f"{HOME}/{talk_id}").text
    assert "第56句" in page
    assert "第3句" not in page
    older = re.search(r'data-older href="([^"]+)"', page)
    assert older is not None
    before = shop.owner.get(older[1], headers=PART).text
    assert "第3句" in before
    assert "第56句" not in before
    assert 'class="composer"' not in shop.owner.get(older[1]).text


# ---- Answering -------------------------------------------------------------------------------------------------------


def test_tapping_twice_answers_once(shop: Inn) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "几点开门")
    assert [shop.says(talk_id, "六点").status_code for _ in range(3)] == [201] * 3
    assert shop.answers(talk_id) == [("text", "六点")]
    assert shop.says(talk_id, "六点", nonce="n2").status_code == 201
    assert len(shop.answers(talk_id)) == 2
    assert "还能在聊天里回复" in shop.owner.get(f"{HOME}/{talk_id}").text


def test_too_long_an_answer_is_told_the_one_limit_there_is(shop: Inn) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "几点开门")
    for characters in (683, 2001, 3000):
        answer = shop.says(talk_id, "好" * characters)
        assert (answer.status_code, answer.json["message"]) == (422, "回复太长：最多约 682 个汉字。")
    assert shop.says(talk_id, "好" * 682).status_code == 201


@pytest.mark.parametrize("words", ["", "好" * 700, "关注就送豆浆"])
def test_what_is_refused_stays_in_its_field(shop: Inn, words: str) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "几点开门")
    answer = shop.says(talk_id, words)
    assert answer.status_code == 422
    assert answer.json["message"]
    shop.owner.get(f"{HOME}/{talk_id}")
    page = shop.owner.post(f"{HOME}/{talk_id}/messages", {"text": words, "nonce": "n1"})
    assert page.status_code == 422
    assert f">{words}</textarea>" in page.text
    assert shop.answers(talk_id) == []


def test_a_note_is_for_the_staff_alone(shop: Inn) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "几点开门")
    for _ in range(2):
        assert shop.says(talk_id, "这位要发票", note="true").status_code == 201
    assert [one.content for one in shop.messages(talk_id, Direction.NOTE)] == ["这位要发票"]
    assert shop.answers(talk_id) == []
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(select(Outbox.kind).where(Outbox.kind == "send_answers")).all() == []
    assert "内部备注 · 员工wang" in plain(shop.owner.get(f"{HOME}/{talk_id}").text)


def test_a_picture_and_words_go_out_in_that_order(shop: Inn, clerk: Browser) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "菜单有吗")
    clerk.get(f"{HOME}/{talk_id}")
    for _ in range(2):
        data = {"text": "这是今天的", "nonce": "n1", "picture": (io.BytesIO(photo()), "menu.jpg")}
        assert clerk.post(f"{HOME}/{talk_id}/messages", data, headers=PROGRAM).status_code == 201  # type: ignore[arg-type]
    assert shop.answers(talk_id) == [("image", None), ("text", "这是今天的")]
    bad = {"text": "这是今天的", "nonce": "n2", "picture": (io.BytesIO(b"GIF89a"), "menu.gif")}
    answer = clerk.post(f"{HOME}/{talk_id}/messages", bad, headers=PROGRAM)  # type: ignore[arg-type]
    assert answer.status_code == 422
    assert "JPG" in answer.get_json()["message"]
    huge = {"text": "这是今天的", "nonce": "n3", "picture": (io.BytesIO(b"x" * 11 * 1024 * 1024), "menu.jpg")}
    answer = clerk.post(f"{HOME}/{talk_id}/messages", huge, headers=PROGRAM)  # type: ignore[arg-type]
    assert (answer.status_code, answer.get_json()["message"]) == (413, "文件最多 10 MB，请换一个小一点的。")
    assert len(shop.answers(talk_id)) == 2
    assert "发给客人的图片" in clerk.get(f"{HOME}/{talk_id}").text


def test_a_picture_is_seen_in_its_talk_alone_and_expires(shop: Inn, clerk: Browser) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "菜单有吗")
    assert shop.says(talk_id, who=clerk, picture=(io.BytesIO(photo()), "menu.jpg")).status_code == 201
    (message,) = shop.messages(talk_id, Direction.OUT)
    path = f"{HOME}/{talk_id}/media/{message.id}"
    assert f'src="{path}"' in clerk.get(f"{HOME}/{talk_id}").text
    answer = shop.owner.get(path)
    assert (answer.status_code, answer.mimetype, answer.data[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    another = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "菜单有吗")
    assert shop.owner.get(f"{HOME}/{another}/media/{message.id}").status_code == 404
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT count(*) FROM picture")).scalar_one() == 0
        session.execute(text("UPDATE talk_media SET state = 'gone', content = NULL, mime = ''"))
    assert shop.owner.get(path).status_code == 404
    page = shop.owner.get(f"{HOME}/{talk_id}").text
    assert "图片已过期删除" in page
    assert path not in page


def test_too_many_pictures_are_refused_with_their_words_kept_and_words_alone_still_go(
    shop: Inn, clerk: Browser
) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "菜单有吗")

    def send(number: int, who: Browser) -> Any:
        return shop.says(talk_id, who=who, nonce=f"n{number}", picture=(io.BytesIO(photo((40, 40))), "menu.jpg"))

    assert {send(number, clerk).status_code for number in range(PICTURES.amount)} == {201}
    refusal = send(PICTURES.amount, clerk)
    assert (refusal.status_code, refusal.json["error"]) == (429, "too_many_pictures")
    assert "10 分钟" in refusal.json["message"]
    fields = {"text": "看看这个", "nonce": "plain", "picture": (io.BytesIO(photo()), "menu.jpg")}
    page = clerk.post(f"{HOME}/{talk_id}/messages", fields)  # type: ignore[arg-type]
    assert page.status_code == 429
    assert ">看看这个</textarea>" in page.text
    assert len(shop.answers(talk_id)) == PICTURES.amount
    assert shop.says(talk_id, "看看这个", who=clerk, nonce="words").status_code == 201
    assert send(99, shop.owner).status_code == 201, "everybody has their own thirty"


def test_with_a_closed_window_the_answer_waits_and_can_be_taken_back(shop: Inn) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=60)), "几点开门", ago=timedelta(hours=49))
    page = shop.owner.get(f"{HOME}/{talk_id}").text
    assert "现在不能直接回复" in page
    assert shop.says(talk_id, "六点开门").status_code == 201
    (message,) = shop.messages(talk_id, Direction.OUT)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE talk_message SET state = 'waiting' WHERE id = :id"), {"id": message.id})
    page = shop.owner.get(f"{HOME}/{talk_id}").text
    assert "等客人下次来访时发" in page
    exported = shop.owner.post(f"{HOME}/export", {"box": "all"}).get_data().decode("utf-8-sig")
    assert next(csv.DictReader(io.StringIO(exported)))["状态"] == "等客人下次来访时发", "nobody has heard it yet"
    cancel = f"{HOME}/{talk_id}/messages/{message.id}/cancel"
    assert f'formaction="{cancel}"' in page
    assert shop.owner.post(cancel).status_code == 303
    assert "没有发：您取消了" in shop.owner.get(f"{HOME}/{talk_id}").text
    assert shop.owner.post(cancel, headers=PROGRAM).status_code == 409
    assert acts(shop, "talk.cancel") == [("talk.cancel", f"talk:{talk_id}")]


def test_the_clock_says_how_long_and_how_often(app: Flask, runtime: Runtime) -> None:
    with app.test_request_context("/merchant/talks"):
        now = runtime.now()
        hours = now + timedelta(hours=41, minutes=59, seconds=30)
        assert clock_words(hours, 3).words == "还能在聊天里回复 41 小时，剩 3 条"
        last = clock_words(hours, 1)
        assert (last.is_last, "只剩 1 条" in last.words) == (True, True)
        for over in (clock_words(None, 0), clock_words(now - timedelta(seconds=1), 3), clock_words(hours, 0)):
            assert over.is_closed
            assert "存好" in over.words
        assert "没有给本店发消息" in clock_words(None, 0).words
        assert "条数用完了，等客人再发消息就能接着回" in clock_words(hours, 0).words
        assert [lasting(timedelta(minutes=m)) for m in (0, 25, 60, 60 * 71, 60 * 72)] == [
            "不到 1 分钟", "25 分钟", "1 小时", "71 小时", "3 天",
        ]  # fmt: skip


def test_a_coupon_goes_out_with_one_button(shop: Inn) -> None:
    from tests.couponing import Street

    street = Street.open(shop.runtime)
    template_id = street.live(shop.merchant_id, name="立减两元", value_fen=200, min_spend_fen=0)
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "有优惠吗")
    assert f'name="coupon" value="{template_id}"' in shop.owner.get(f"{HOME}/{talk_id}").text
    for _ in range(2):
        assert shop.says(talk_id, coupon=str(template_id)).status_code == 201
    ((kind, words),) = shop.answers(talk_id)
    assert kind == "coupon"
    assert "/m/coupons/" in str(words)
    page = shop.owner.get(f"{HOME}/{talk_id}").text
    assert "送您一张“立减两元”，点这里打开" in page
    assert "&lt;a href" not in page
    for listed_by in ({"box": "all"}, {"q": "立减两元"}):
        page = shop.owner.get(HOME, query_string=listed_by).text
        assert "店里：[优惠券] 送您一张“立减两元”，点这里打开" in page, "the list says it in words, too"
    assert listed(shop.owner.get(HOME, query_string={"q": "coupons"}).text) == []


# ---- What is done about a talk ---------------------------------------------------------------------------------------


def test_a_voice_is_kept_for_listening(shop: Inn) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "", kind=Kind.VOICE, media="media-of-a-voice")
    assert "[语音]" in shop.owner.get(f"{HOME}/{talk_id}").text
    (message,) = shop.messages(talk_id, Direction.IN)
    message_id = message.id
    with shop.runtime.transaction(Role.PLATFORM) as session:
        kept = text("""
            UPDATE talk_media SET state = 'kept', mime = 'audio/amr', content = :content, media_id = NULL
            WHERE message_id = :id""")
        session.execute(kept, {"id": message_id, "content": b"#!AMR\n..."})
    page = shop.owner.get(f"{HOME}/{talk_id}").text
    path = f"{HOME}/{talk_id}/media/{message_id}"
    assert f'href="{path}" download' in page
    answer = shop.owner.get(path)
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "audio/amr", b"#!AMR\n...")
    assert shop.owner.get(f"{HOME}/{talk_id}/media/{message_id + 1}").status_code == 404


def test_a_talk_is_ended_and_taken_up_again(shop: Inn) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "几点开门")
    assert shop.says(talk_id, "六点").status_code == 201
    assert shop.owner.post(f"{HOME}/{talk_id}/close").status_code == 303
    page = shop.owner.get(f"{HOME}/{talk_id}").text
    assert "员工wang结束了这次接待" in page
    assert "重新打开" in page
    banner = '<p class="act-said" data-part="ended">已结束。'
    assert banner in shop.owner.get(f"{HOME}/{talk_id}", headers=PART).text, "colleagues see it come, too"
    assert shop.owner.post(f"{HOME}/{talk_id}/reopen").status_code == 303
    part = shop.owner.get(f"{HOME}/{talk_id}", headers=PART).text
    assert "结束接待" in part
    assert banner not in part
    assert '<p class="act-said" data-part="ended" hidden>' in part


def test_a_talk_that_ended_by_itself_says_nothing_false_of_how_long_that_took(shop: Inn) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(days=8)), "几点开门", ago=timedelta(days=8))
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE talk_message SET created_at = at"))
        enquiries.close_silent(session, shop.runtime.now())
    page = shop.owner.get(f"{HOME}/{talk_id}").text
    assert "自动结束了" in page
    assert "两天" not in page


def test_who_has_a_talk_and_the_customers_tags_stand_above_it_and_keep_up(shop: Inn, clerk: Browser) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "几点开门")
    path = f"{HOME}/{talk_id}"
    before = shop.owner.get(path, headers=PART)
    assert '<p class="talk-about" data-part="about"></p>' in before.text
    with shop.runtime.transaction(Role.PLATFORM) as session:
        clerk_id = session.execute(text("SELECT id FROM staff WHERE login = 'xiaoli'")).scalar_one()
    clerk.get(path)
    assert clerk.post(f"{path}/assign", {"staff": str(clerk_id)}).status_code == 303
    assert clerk.post(f"{path}/fan", {"note": "爱喝热的", "tags": "常客"}).status_code == 303
    after = shop.owner.get(path, headers={**PART, "If-None-Match": before.headers["ETag"]})
    assert "员工xiaoli接待 常客" in plain(after.text)
    assert "内部备注 · 员工xiaoli 转给 员工xiaoli 接待。" in plain(after.text)


def test_a_talk_is_given_to_ones_own_people_only(shop: Inn, new_staff: Callable[..., int]) -> None:
    other = shop.street.merchant("花店")
    stranger = new_staff("flora", StaffRole.OWNER, other)
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "几点开门")
    shop.owner.get(f"{HOME}/{talk_id}")
    assert shop.owner.post(f"{HOME}/{talk_id}/assign", {"staff": str(stranger)}).status_code == 404
    assert shop.talk(talk_id).assigned_to is None


def test_note_and_tags_are_those_of_the_card(shop: Inn) -> None:
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "几点开门")
    (number,) = shop.numbers()
    shop.owner.get(f"{HOME}/{talk_id}")
    assert shop.owner.post(f"{HOME}/{talk_id}/fan", {"note": "爱喝热的", "tags": "常客"}).status_code == 303
    card = shop.owner.get(f"/merchant/fans/{number}").text
    assert "爱喝热的" in card
    assert "常客" in card
    refused = shop.owner.post(f"{HOME}/{talk_id}/fan", {"note": "长" * 201, "tags": ""})
    assert refused.status_code == 422
    assert "最多 200 个字" in refused.text
    tags = shop.owner.post(f"{HOME}/{talk_id}/fan", {"note": "", "tags": "，".join("一二三四五六七八九十甲乙")})
    assert "最多 10 个标签" in tags.text
    for page, name in ((refused.text, "note"), (tags.text, "tags")):
        assert '<details class="talk-more" open>' in page, "what is wrong is not folded away"
        assert re.search(rf'id="{name}"[^>]*autofocus', page)
    assert "autofocus" not in shop.owner.get(f"{HOME}/{talk_id}").text


# ---- The desk --------------------------------------------------------------------------------------------------------


def week(**days: tuple[str, str]) -> dict[str, Any]:
    """A form with these days' first ranges."""
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    ranges = [pair for name in names for pair in (days.get(name, ("", "")), ("", ""))]
    return {"opens": [one for one, _ in ranges], "closes": [two for _, two in ranges]}


def test_hours_are_kept_as_they_were_set(shop: Inn, clerk: Browser) -> None:
    path = f"{HOME}/settings"
    assert "还没有设接待时间" in shop.owner.get(path).text
    fields = {"closed_days": "2030年10月1日\n2030-10-02", "notify_after": "5", "asks_satisfaction": "true"}
    saved = shop.owner.post(path, {**week(mon=("09:00", "21:00"), sun=("10:00", "00:00")), **fields})
    assert saved.status_code == 303
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        kept = desk.of(session, shop.merchant_id)
    assert {day: len(ranges) for day, ranges in kept.hours.ranges.items()} == {1: 1, 7: 1}
    assert {str(day) for day in kept.hours.closed_days} == {"2030-10-01", "2030-10-02"}
    assert (kept.asks_satisfaction, kept.hands_over, kept.notify_after) == (True, False, 5)
    page = shop.owner.get(path).text
    assert 'value="09:00"' in page
    assert "2030-10-01" in page
    clerk.get(path)
    assert clerk.post(path, {**week(), **fields}).status_code == 403


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (week(mon=("09:00", "")), "每段时间都要写开始和结束"),
        (week(mon=("21:00", "09:00")), "结束要晚于开始"),
        (week(mon=("09:0٣", "21:00")), "没有保存，这几处要改"),
        ({**week(), "closed_days": "国庆"}, "“国庆”不是日期"),
        ({**week(), "notify_after": "0"}, "客人等几分钟后提醒店里：请填 1 到 720 之间的整数"),
        ({**week(), "notify_after": "-5"}, '<a href="#notify_after">'),
        ({**week(), "notify_after": "abc"}, "客人等几分钟后提醒店里：请填 1 到 720 之间的整数"),
    ],
)
def test_hours_that_make_no_sense_are_told_where_they_stand(shop: Inn, fields: dict[str, Any], sentence: str) -> None:
    shop.owner.get(f"{HOME}/settings")
    answer = shop.owner.post(f"{HOME}/settings", {"closed_days": "", "notify_after": "2", **fields})
    assert answer.status_code == 422
    assert sentence in answer.text
    assert "没有保存，这几处要改" in answer.text, "above the form, which is longer than a screen"


def test_what_was_typed_beside_a_fault_is_all_kept(shop: Inn) -> None:
    shop.owner.get(f"{HOME}/settings")
    fields: dict[str, Any] = {
        **week(mon=("08:15", "20:45")),
        "closed_days": "10月1日",
        "notify_after": "abc",
        "hands_over": "true",
    }
    pages = [shop.owner.post(f"{HOME}/settings", fields).text]
    fields["opens"] = ["25点", *[""] * 13]
    pages.append(shop.owner.post(f"{HOME}/settings", fields).text)
    for page in pages:
        for typed in ('value="20:45"', "10月1日</textarea>", 'value="abc"'):
            assert typed in page, typed
        assert re.search(r'name="hands_over"[^>]*checked', page)
    assert 'value="25点"' in pages[1]


def test_the_desks_words_wait_for_the_operator(
    shop: Inn, app: Flask, new_staff: Callable[..., int], runtime: Runtime
) -> None:
    path = f"{HOME}/settings"
    shop.owner.get(path)
    assert shop.owner.post(f"{path}/words/away", {"text": ""}).status_code == 303
    assert "没有改动，说的还是默认的话" in shop.owner.get(path).text
    assert shop.owner.post(f"{path}/words/away", {"text": "磨豆子去了，六点回来。"}).status_code == 303
    assert "等运营审批" in shop.owner.get(path).text
    refused = shop.owner.post(f"{path}/words/away", {"text": "关注就送豆浆"})
    assert (refused.status_code, "关注就送豆浆" in refused.text) == (422, True)

    new_staff("operator")
    operator = Browser(app.test_client())
    assert operator.sign_in("operator").status_code == 303
    queue = operator.get("/operator/approvals").text
    assert "磨豆子去了，六点回来。" in queue
    with runtime.transaction(Role.PLATFORM) as session:
        words_id = session.execute(select(DeskWords.id)).scalar_one()
    decide = f"/operator/approvals/desk-words/{words_id}"
    no_reason = operator.post(f"{decide}/reject", {"was": "pending", "reason": ""})
    assert no_reason.status_code == 422
    assert operator.post(f"{decide}/approve", {"was": "pending"}).status_code == 303
    assert operator.post(f"{decide}/approve", {"was": "pending"}).location == "/operator/approvals"
    assert "已经处理过了" in operator.get("/operator/approvals").text
    page = shop.owner.get(path).text
    assert "磨豆子去了，六点回来。" in page
    assert "在用" in page
    with runtime.transaction(Role.PLATFORM) as session:
        assert desk.words_of(session, merchant_id=shop.merchant_id, kind=WordsKind.AWAY).speaking is not None
    assert "接待时说的话通过了" in shop.owner.get("/merchant/notices").text
    assert shop.owner.post(f"{path}/words/away", {"text": ""}).status_code == 303
    assert "磨豆子" not in shop.owner.get(path).text


def acts(shop: Inn, kind: str) -> list[tuple[str, str]]:
    """What the audit log holds of that kind, and about what."""
    with shop.runtime.transaction(Role.PLATFORM) as session:
        found = session.execute(
            select(AuditLog.action, AuditLog.subject).where(AuditLog.action.startswith(kind)).order_by(AuditLog.id)
        )
        return [(row[0], row[1]) for row in found]


def titles(shop: Inn) -> list[str]:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        return list(session.scalars(select(CannedReply.title).order_by(CannedReply.position, CannedReply.id)))


def test_canned_replies_are_added_edited_ordered_and_deleted(shop: Inn, clerk: Browser) -> None:
    path = f"{HOME}/replies"
    assert "还没有常用语" in clerk.get(path).text
    for name in ("营业时间", "地址", "送货"):
        assert clerk.post(path, {"title": name, "text": f"{name}是这样的"}).status_code == 303
    twice = clerk.post(path, {"title": "地址", "text": "别的"})
    assert twice.status_code == 422
    ids = re.findall(r'id="reply-(\d+)"', clerk.get(path).text)
    assert clerk.post(f"{path}/{ids[2]}/up").status_code == 303
    assert titles(shop) == ["营业时间", "送货", "地址"]
    assert clerk.post(f"{path}/{ids[0]}/down").status_code == 303
    assert titles(shop) == ["送货", "营业时间", "地址"]
    assert clerk.post(f"{path}/{ids[1]}", {"title": "在哪儿", "text": "北门对面"}).status_code == 303
    assert clerk.post(f"{path}/{ids[0]}/remove").status_code == 303
    assert titles(shop) == ["送货", "在哪儿"]
    assert clerk.post(f"{path}/{ids[0]}/remove").status_code == 404
    done = [("add", 0), ("add", 1), ("add", 2), ("move", 2), ("move", 0), ("edit", 1), ("remove", 0)]
    assert acts(shop, "canned_reply.") == [(f"canned_reply.{what}", f"canned_reply:{ids[one]}") for what, one in done]
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "在哪儿")
    assert 'value="北门对面"' in shop.owner.get(f"{HOME}/{talk_id}").text


def test_a_talk_is_not_ended_over_a_message_that_was_not_on_the_page(shop: Inn) -> None:
    ann = shop.welcomes_somebody(ago=timedelta(hours=1))
    talk_id = shop.hears(ann, "几点开门")
    page = f"{HOME}/{talk_id}"
    ending = re.search(rf'formaction="{page}/close" name="seen_to" value="(\d+)"', shop.owner.get(page).text)
    assert ending is not None
    shop.hears(ann, "还有苹果吗")
    refused = shop.owner.post(f"{page}/close", {"seen_to": ending[1]}, headers=PROGRAM)
    assert (refused.status_code, refused.get_json()["message"]) == (409, "客人刚刚又发来了消息，看一眼再结束。")
    assert f"{page}/reopen" not in shop.owner.get(page).text
    newest = re.search(rf'formaction="{page}/close" name="seen_to" value="(\d+)"', shop.owner.get(page).text)
    assert newest is not None
    assert shop.owner.post(f"{page}/close", {"seen_to": newest[1]}).status_code == 303
    assert f"{page}/reopen" in shop.owner.get(page).text


def test_a_session_does_only_so_much_a_minute_and_a_colleague_is_not_held_up(
    shop: Inn, clerk: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "ACTS_A_MINUTE", 3)
    path = f"{HOME}/{shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), '几点开门')}"
    for act in ("close", "reopen", "close"):
        assert shop.owner.post(f"{path}/{act}").status_code == 303
    for page in (f"{path}/assign", f"{path}/seen", f"{HOME}/settings", f"{HOME}/replies", "/merchant/rules"):
        assert shop.owner.post(page).status_code == 429, page
    assert shop.owner.get(path).status_code == 200
    assert clerk.post(f"{path}/close").status_code == 303


def test_figures_tell_how_soon_and_how_well(shop: Inn) -> None:
    path = f"{HOME}/figures"
    assert "这几天没有人来问" in shop.owner.get(path).text
    talk_id = shop.hears(shop.welcomes_somebody(ago=timedelta(hours=1)), "几点开门", ago=timedelta(minutes=20))
    assert shop.says(talk_id, "六点").status_code == 201
    assert shop.owner.post(f"{HOME}/{talk_id}/close").status_code == 303
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE enquiry SET asked_at = app_now(), satisfaction = 3, rated_at = app_now()"))
    page = plain(shop.owner.get(f"{path}?days=30").text)
    assert "20 分钟" in page
    assert "100%" in page
    assert "员工wang 1 20 分钟 100%" in page
    assert "客人评价：满意" in shop.owner.get(f"{HOME}/{talk_id}").text
