"""Welcomes: who speaks, what waits, what is refused, and how placeholders are filled."""

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from core.runtime import Runtime
from merchants import pictures
from merchants.models import Picture
from merchants.pictures import Prepared
from merchants.reviews import NotWaiting, ReviewState
from merchants.wording import link_hosts
from qrcodes import codes, welcomes
from qrcodes.codes import Wanted
from qrcodes.models import Welcome, WelcomeVariant
from qrcodes.welcomes import Draft, Message
from tests.conftest import statements
from tests.qrcodes.conftest import Street
from wechat.replies import ImageReply, NewsReply, TextReply

HOSTS = link_hosts("https://quan.example.cn")
OPERATOR = 1
FIRST, BACK, ALREADY = WelcomeVariant.FIRST, WelcomeVariant.BACK, WelcomeVariant.ALREADY


def write(session: Session, now: datetime, merchant_id: int | None, words: str, **more: Any) -> int:
    """Save a text welcome; approved at once where `operator_id` is given."""
    place = {"code_id": None, "variant": FIRST, "position": 0, "draft": Draft(text=words)} | more
    return welcomes.save(session, merchant_id=merchant_id, hosts=HOSTS, now=now, **place)


def speaks(
    session: Session, merchant_id: int | None, code_id: int | None, variant: WelcomeVariant = FIRST
) -> list[str]:
    found = welcomes.resolve_many(session, {(merchant_id, code_id)})
    return [message.text for message in found[merchant_id, code_id, variant]]


@pytest.fixture
def code_id(runtime: Runtime, street: Street) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        return codes.add(session, merchant_id=street.flowers, wanted=Wanted("收银台"), now=runtime.now()).id


def test_merchants_words_wait_for_the_operator_and_the_former_ones_speak_meanwhile(
    runtime: Runtime, street: Street
) -> None:
    now = runtime.now()
    with runtime.transaction(Role.MERCHANT, merchant_id=street.flowers) as session:
        first = write(session, now, street.flowers, "一")
    with runtime.transaction(Role.PLATFORM) as session:
        built_in = [message.text for message in welcomes.MERCHANT_WORDS[FIRST]]
        assert speaks(session, street.flowers, None) == built_in
        assert [row.id for row in welcomes.waiting_for_review(session)] == [first]
        welcomes.approve(session, welcome_id=first, operator_id=OPERATOR, now=now)
        assert speaks(session, street.flowers, None) == ["一"]
        with pytest.raises(NotWaiting):
            welcomes.reject(session, welcome_id=first, operator_id=OPERATOR, reason="晚了", now=now)
    with runtime.transaction(Role.MERCHANT, merchant_id=street.flowers) as session:
        write(session, now, street.flowers, "二")
        second = write(session, now, street.flowers, "三")
    with runtime.transaction(Role.PLATFORM) as session:
        assert welcomes.count_waiting(session) == 1
        assert speaks(session, street.flowers, None) == ["一"]
        welcomes.reject(session, welcome_id=second, operator_id=OPERATOR, reason="请写店名", now=now)
        assert speaks(session, street.flowers, None) == ["一"]
    with runtime.transaction(Role.MERCHANT, merchant_id=street.flowers) as session:
        places = welcomes.current(session, merchant_id=street.flowers, code_id=None)
        assert len(places) == 9
        place = next(place for place in places if (place.variant, place.position) == (FIRST, 0))
        assert place.speaking is not None
        assert place.rejected is not None
        assert (place.speaking.text, place.waiting, place.rejected.review_reason) == ("一", None, "请写店名")
        assert all(other.speaking is other.waiting is other.rejected is None for other in places if other != place)
        third = write(session, now, street.flowers, "四")
        place = next(place for place in welcomes.current(session, merchant_id=street.flowers, code_id=None))
        assert place.waiting is not None
        assert (place.waiting.id, place.rejected) == (third, None)


def test_merchant_cannot_approve_its_own_words(runtime: Runtime, street: Street) -> None:
    with runtime.transaction(Role.MERCHANT, merchant_id=street.flowers) as session:
        write(session, runtime.now(), street.flowers, "一")
    for values in ({"review": ReviewState.APPROVED}, {"text": "别的"}):
        with pytest.raises(ProgrammingError), runtime.transaction(Role.MERCHANT, merchant_id=street.flowers) as session:
            session.execute(update(Welcome).values(values))
    with runtime.transaction(Role.MERCHANT, merchant_id=street.books) as session:
        assert session.scalars(select(Welcome)).all() == []


def test_code_speaks_before_merchant_before_platform_before_built_in(
    runtime: Runtime, street: Street, code_id: int
) -> None:
    now = runtime.now()
    with runtime.transaction(Role.PLATFORM) as session:
        write(session, now, None, "平台", operator_id=OPERATOR)
        assert speaks(session, street.flowers, code_id) == ["平台"]
        assert speaks(session, None, None) == ["平台"]
        write(session, now, street.flowers, "本店", operator_id=OPERATOR)
        assert speaks(session, street.flowers, code_id) == ["本店"]
        assert speaks(session, street.books, None) == ["平台"]
        write(session, now, street.flowers, "本码", code_id=code_id, operator_id=OPERATOR)
        write(session, now, street.flowers, "再一条", code_id=code_id, position=2, operator_id=OPERATOR)
        assert speaks(session, street.flowers, code_id) == ["本码", "再一条"]
        assert speaks(session, street.flowers, None) == ["本店"]
        # The other variants are still nobody's.
        assert speaks(session, street.flowers, code_id, BACK) == [welcomes.MERCHANT_WORDS[BACK][0].text]
        assert speaks(session, None, None, ALREADY) == [welcomes.PLATFORM_WORDS[ALREADY][0].text]


def test_withdrawn_words_fall_back_and_what_follows_is_not_said_alone(
    runtime: Runtime, street: Street, code_id: int
) -> None:
    now = runtime.now()
    with runtime.transaction(Role.PLATFORM) as session:
        write(session, now, street.flowers, "本店", operator_id=OPERATOR)
        for words in ("旧", "新"):
            write(session, now, street.flowers, words, code_id=code_id, operator_id=OPERATOR)
        write(session, now, street.flowers, "随后", code_id=code_id, position=1, operator_id=OPERATOR)
    with runtime.transaction(Role.MERCHANT, merchant_id=street.flowers) as session:
        place: dict[str, Any] = {"merchant_id": street.flowers, "code_id": code_id, "variant": FIRST, "position": 0}
        assert welcomes.withdraw(session, **place) == 1
        assert welcomes.withdraw(session, **(place | {"merchant_id": street.books})) == 0
    with runtime.transaction(Role.PLATFORM) as session:
        assert speaks(session, street.flowers, code_id) == ["本店"]


def test_one_statement_serves_a_whole_batch(runtime: Runtime, street: Street, code_id: int) -> None:
    wanted = {(street.flowers, code_id), (street.books, None), (None, None)}
    with runtime.transaction(Role.PLATFORM) as session:
        session.connection()
        with statements(runtime, Role.PLATFORM) as asked:
            found = welcomes.resolve_many(session, wanted)
    assert len(asked) == 1
    assert set(found) == {(*owner, variant) for owner in wanted for variant in WelcomeVariant}
    assert all(messages[0].position == 0 for messages in found.values())


def test_nobody_speaks_through_others_codes_and_pictures(runtime: Runtime, street: Street, code_id: int) -> None:
    now = runtime.now()
    with runtime.transaction(Role.PLATFORM) as session:
        picture = Prepared(b"\xff\xd8\xff", b"1" * 32, 100, 100)
        picture_id = pictures.save(session, merchant_id=street.flowers, picture=picture, public_id="p1")
    with runtime.transaction(Role.MERCHANT, merchant_id=street.books) as session:
        foreign: tuple[dict[str, Any], ...] = (
            {"code_id": code_id},
            {"draft": Draft("image", picture_id=picture_id)},
            {"draft": Draft("image", picture_id=picture_id + 1)},
        )
        for more in foreign:
            with pytest.raises(NotFound):
                write(session, now, street.books, "一", **more)
        with pytest.raises(NotFound):
            write(session, now, None, "一")


@pytest.mark.parametrize(
    ("field", "draft"),
    [
        ("text", Draft(text=" ")),
        ("text", Draft(text="关注送红包")),
        ("text", Draft(text="看http://evil.cn")),
        ("text", Draft(text="{码|ht}tp://evil.cn")),
        ("text", Draft(text="关{码}注送红包")),
        ("text", Draft(text="{昵称}您好")),
        ("text", Draft(text="{{7*7}}")),
        ("text", Draft(text="{0.__class__}")),
        ("text", Draft(text="好" * 683)),
        ("text", Draft(text="好" * 660 + "{商户}")),
        ("text", Draft(text="一\x00二")),
        ("picture", Draft("image")),
        ("title", Draft("news", title="")),
        ("title", Draft("news", title="长" * 33)),
        ("title", Draft("news", title="转发领券")),
        ("description", Draft("news", title="好", description="长" * 129)),
        ("url", Draft("news", title="好", url="http://evil.cn")),
        ("url", Draft("news", title="好", url="javascript:alert(1)")),
        ("url", Draft("news", title="好", url="https://quan.example.cn/" + "x" * 1000)),
        ("kind", Draft("video", text="好")),
    ],
)
def test_drafts_that_cannot_be_sent_are_refused_by_field(field: str, draft: Draft) -> None:
    with pytest.raises(Invalid) as refusal:
        welcomes.check(draft, hosts=HOSTS)
    assert refusal.value.field == field
    assert refusal.value.message


@pytest.mark.parametrize(
    ("words", "spoken"),
    [
        ("{商户}欢迎您", "花店欢迎您"),
        ("您在{位置|本店}", "您在本店"),
        ("{社区}-{码}", "翠园-收银台{商户}"),
        ("一个{ %s $x {", "一个{ %s $x {"),
    ],
)
def test_placeholders_are_filled_once_and_give_way_to_their_fallback(words: str, spoken: str) -> None:
    # What is filled in is not looked at again, not even when it looks like a placeholder.
    message = Message(1, 0, "text", words)
    values: dict[str, Any] = {"merchant_name": "花店", "community": "翠园", "code_label": "收银台{商户}"}
    assert welcomes.render(message, **values) == TextReply(spoken)


def test_longest_filling_fits_the_platform(runtime: Runtime) -> None:
    draft = welcomes.check(Draft(text="好" * 520 + "{商户}{社区}{码}{位置|本店}"), hosts=HOSTS)
    widest = "𠮷" * 30
    reply = welcomes.render(
        Message(1, 0, "text", draft.text), merchant_name=widest, community=widest, code_label=widest, place=widest
    )
    assert isinstance(reply, TextReply)
    assert len(reply.content.encode()) <= 2048


def test_pictures_and_cards_are_text_until_the_platform_has_them() -> None:
    image = Message(1, 0, "image", "{商户}的菜单", has_picture=True)
    assert welcomes.render(image, merchant_name="花店") == TextReply("花店的菜单")
    assert welcomes.render(Message(1, 0, "image", "", has_picture=True), merchant_name="花店") == TextReply(
        "花店，欢迎光临！"
    )
    ready = Message(1, 0, "image", "菜单", has_picture=True, media_id="m1", picurl="http://p")
    assert welcomes.render(ready) == ImageReply("m1")

    page = "https://quan.example.cn/q/abc"
    card: dict[str, Any] = {
        "id": 1,
        "position": 0,
        "kind": "news",
        "text": "",
        "title": "{商户}",
        "description": "在{位置|三楼}",
    }
    assert welcomes.render(Message(**card), merchant_name="花店", page_url=page) == NewsReply(
        "花店", "在三楼", "", page
    )
    own_url = Message(**card, url="http://mp.weixin.qq.com/s/1", has_picture=True, picurl="http://p")
    assert welcomes.render(own_url, merchant_name="花店", page_url=page) == NewsReply(
        "花店", "在三楼", "http://p", "http://mp.weixin.qq.com/s/1"
    )
    waiting = Message(**card, has_picture=True)
    assert welcomes.render(waiting, merchant_name="花店", page_url=page) == TextReply(f"花店\n在三楼\n{page}")
    assert welcomes.render(Message(**card), merchant_name="花店") == TextReply("花店\n在三楼")
    wide = Message(**(card | {"title": "好" * 30 + "{商户}"}))
    reply = welcomes.render(wide, merchant_name="很长的店名", page_url=page)
    assert isinstance(reply, NewsReply)
    assert reply.title == "好" * 30 + "很长"


def test_built_in_words_pass_the_linter_and_fill() -> None:
    for words in (welcomes.MERCHANT_WORDS, welcomes.PLATFORM_WORDS):
        assert set(words) == set(WelcomeVariant)
        for [message] in words.values():
            welcomes.check(Draft(text=message.text), hosts=HOSTS)
            reply = welcomes.render(message, merchant_name="花店")
            assert isinstance(reply, TextReply)
            assert "{" not in reply.content


def test_media_of_an_approved_picture_is_spoken(runtime: Runtime, street: Street) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        picture = Prepared(b"\xff\xd8\xff", b"1" * 32, 100, 100)
        picture_id = pictures.save(session, merchant_id=street.flowers, picture=picture, public_id="p1")
        draft = Draft("image", text="菜单", picture_id=picture_id)
        write(session, runtime.now(), street.flowers, "", draft=draft, operator_id=OPERATOR)
        key = (street.flowers, None, FIRST)
        [message] = welcomes.resolve_many(session, {(street.flowers, None)})[key]
        assert welcomes.render(message) == TextReply("菜单")
        session.execute(update(Picture).values(media_id="m1", wechat_url="http://p"))
        [message] = welcomes.resolve_many(session, {(street.flowers, None)})[key]
        assert welcomes.render(message) == ImageReply("m1")


def test_rejecting_needs_a_reason(runtime: Runtime, street: Street) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        waiting = write(session, runtime.now(), street.flowers, "一")
        with pytest.raises(BusinessError):
            welcomes.reject(session, welcome_id=waiting, operator_id=OPERATOR, reason=" ", now=runtime.now())
