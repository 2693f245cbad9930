"""What somebody looks up in the chat: shops around here, phone numbers, notices, and what one can write at all."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from bot import lookups
from bot.context import Shops
from bot.inbox import Inbox
from bot.lookups import Lookup
from community.directory import writing as directory
from community.directory.writing import Draft as Entry
from community.notices import writing as notices
from community.notices.writing import Draft as Notice
from core.database import Role
from core.runtime import Runtime
from merchants import cards
from merchants.cards import Card
from tests.bot.chat import HOUR, Person, fan
from tests.community import Code, Neighbourhood, wrote
from tests.conftest import advance

SHOPS = Shops({1: "王记水果", 2: "老王茶馆"}, frozenset({"水果", "餐饮"}))
GATE = (31.8206, 117.2272)


@pytest.fixture
def fruit(street: Neighbourhood) -> Code:
    return street.code(street.merchant("王记水果"))


def opened(street: Neighbourhood, merchant_id: int, kind: str, at: tuple[float, float]) -> None:
    with street.runtime.transaction(Role.PLATFORM) as session:
        card = Card(latitude=at[0], longitude=at[1], hours="9 点到 21 点")
        cards.show(session, merchant_id=merchant_id, card=card, hosts=frozenset())
        session.execute(text("UPDATE merchant SET kind = :kind WHERE id = :id"), {"kind": kind, "id": merchant_id})


@pytest.mark.parametrize(
    ("said", "what", "about"),
    [
        ("商家", Lookup.SHOPS, ""), ("附近的店", Lookup.SHOPS, ""), ("附近有什么店？", Lookup.SHOPS, ""),
        ("商家 餐饮", Lookup.SHOPS, "餐饮"), ("附近有餐饮店吗", Lookup.SHOPS, "餐饮"),
        ("商家：奶茶", Lookup.SHOPS, "奶茶"),
        ("电话", Lookup.PHONE, ""), ("电话 锁匠", Lookup.PHONE, "锁匠"), ("電話　鎖匠", Lookup.PHONE, "锁匠"),
        ("电话：开锁", Lookup.PHONE, "开锁"), ("公告", Lookup.NOTICES, ""), ("小区公告", Lookup.NOTICES, ""),
        ("公告 停水", Lookup.NOTICES, "停水"), ("公告：停 水", Lookup.NOTICES, "停水"), ("公告 。", Lookup.NOTICES, ""),
        ("看看公告", Lookup.NOTICES, ""), ("请回复：公告", Lookup.NOTICES, ""),
    ],
)  # fmt: skip
def test_look_ups_are_understood_whoever_one_talks_to(said: str, what: Lookup, about: str) -> None:
    for is_with_shop in (True, False):
        wanted = lookups.wanted_in(said, shops=SHOPS, is_with_shop=is_with_shop)
        assert wanted is not None
        assert (wanted.what, wanted.words) == (what, about)


def test_a_sentence_to_a_shop_is_none() -> None:
    for said in (
        "老板电话",
        "电话多少",
        "你们电话是多少",
        "锁匠电话",
        "商家几点开门",
        "附近停车吗",
        "公告牌坏了",
        "打电话给我",
        "",
    ):
        assert lookups.wanted_in(said, shops=SHOPS, is_with_shop=True) is None, said
    for said, about in (("锁匠电话", "锁匠"), ("有没有开锁的电话", "开锁"), ("电话锁匠", "锁匠")):
        wanted = lookups.wanted_in(said, shops=SHOPS, is_with_shop=False)
        assert wanted is not None
        assert wanted.words == about
    assert lookups.wanted_in("电话多少", shops=SHOPS, is_with_shop=False) is None


def test_shops_by_kind_and_the_nearest_first_once_a_place_was_sent(
    street: Neighbourhood, inbox: Inbox, fruit: Code
) -> None:
    far = street.merchant("远处水果")
    opened(street, fruit.merchant_id, "水果", (31.8216, 117.2272))
    opened(street, far, "水果", (31.8606, 117.2272))
    opened(street, street.merchant("李家面馆"), "餐饮", GATE)
    ann = fan(inbox, street, fruit)
    said = ann.says("商家 水果")
    assert said.startswith("附近的店（水果）：\n1. 王记水果，9 点到 21 点")
    assert "发个位置给我" in said
    assert "李家面馆" not in said
    near = ann.sends_place(*GATE)
    assert near.startswith("离您近的店：\n1. 李家面馆，0 米，9 点到 21 点\n2. 王记水果，111 米")
    assert "2. 远处水果，4.4 公里" in ann.says("商家 水果", after=HOUR)
    assert "发个位置给我" in ann.says("商家", after=12 * HOUR)
    assert "没有找到“药房”类的店" in ann.says("商家 药房")


def test_a_place_that_is_sent_to_a_shop_is_the_shops_to_answer(
    street: Neighbourhood, inbox: Inbox, fruit: Code
) -> None:
    opened(street, fruit.merchant_id, "水果", (31.8216, 117.2272))
    opened(street, street.merchant("别家水果"), "水果", GATE)
    ann = fan(inbox, street, fruit)
    ann.says("找 王记水果")
    assert ann.sends_place(*GATE) == "这里离 王记水果 约 111 米"
    assert ann.heard == [("王记水果", "小区北门\n31.820600,117.227200", True)]
    assert ann.answered_by[-1] == "talk"
    assert ann.says("送到这里") == ""
    assert ann.windows == ["王记水果"] * 3
    assert ann.says("还在吗", after=HOUR) != ""
    ann.now += HOUR / 2
    advance(inbox._runtime, HOUR / 2)
    far = ann.sends_place(*GATE)
    assert far.startswith("您正在和 王记水果 聊天")
    assert far.endswith("\n这里离 王记水果 约 111 米")


def test_a_shop_whose_place_nobody_told_gets_the_place_all_the_same(
    street: Neighbourhood, inbox: Inbox, fruit: Code
) -> None:
    ann = fan(inbox, street, fruit)
    assert ann.sends_place(*GATE).startswith("附近的店：\n1. 王记水果"), "no list is by distance without distances"
    ann.says("找 王记水果")
    assert ann.sends_place(*GATE) == ""
    assert [kept[1] for kept in ann.heard] == ["小区北门\n31.820600,117.227200"]


def test_whom_to_call(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    ann = fan(inbox, street)
    assert ann.says("电话").startswith("便民电话还在整理")
    with runtime.transaction(Role.PLATFORM) as session:
        locks = directory.add_category(session, account_id=street.account_id, name="锁匠", aliases="开锁")
        water = directory.add_category(session, account_id=street.account_id, name="送水", aliases="")
        for name, category, paid in (("老张<b>", locks, None), ("老李", locks, street.now), ("水站", water, None)):
            entry = Entry(name, "13800138000", category, paid_from=paid,
                          paid_until=paid and paid + timedelta(days=3))  # fmt: skip
            directory.add(session, account_id=street.account_id, draft=entry, now=street.now)
    said = ann.says("电话 开锁")
    assert said.splitlines()[:2] == ["【推广】老李 13800138000", "老张〈b〉 13800138000"]
    assert ann.says("電話").startswith("便民电话有：锁匠、送水。\n请回复“电话”加类别，比如：电话 锁匠")
    assert ann.says("锁匠的电话") == said
    assert ann.says("电话 理发").startswith("没有找到“理发”的电话")
    assert ann.answered_by[-5:] == ["lookup"] * 5


def test_notices_are_told(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    ann = fan(inbox, street)
    assert ann.says("公告") == "现在没有公告。"
    with runtime.transaction(Role.PLATFORM) as session:
        draft = Notice("周三停水", "8 点到 12 点停水。", street.now, places=())
        one = notices.create(session, account_id=street.account_id, draft=draft, operator_id=1,
                             hosts=frozenset(), now=street.now)  # fmt: skip
        notices.publish(session, account_id=street.account_id, notice_id=one, operator_id=1, now=street.now)
    said = ann.says("小区公告")
    assert f"/m/notices/{one}" in said
    assert "周三停水</a>\n8 点到 12 点停水。" in said
    assert ann.says("公告 停水").startswith("提到“停水”的公告：\n1.")
    assert ann.says("公告：8点").startswith("提到“8点”的公告：\n1.")
    assert ann.says("公告 停电").startswith("没有提到“停电”的公告。最新公告：\n1.")


def test_a_repeated_look_up_finds_its_first_answer(street: Neighbourhood, inbox: Inbox, fruit: Code) -> None:
    ann = fan(inbox, street, fruit)
    event = wrote(ann.openid, ann.now, "商家")
    (first,) = inbox.receive([event])
    street.merchant("新开的店")
    assert inbox.receive([event]) == [first]
    assert "新开的店" in Person(inbox, ann.openid, ann.now + timedelta(seconds=1)).says("商家")


def test_help_and_ones_own_data(street: Neighbourhood, inbox: Inbox, fruit: Code) -> None:
    ann = fan(inbox, street, fruit)
    assert "电话 锁匠" in ann.says("帮助")
    assert ann.says("菜单") == ann.says("怎么用")
    for said in ("我的数据", "我的信息", "删除我的数据", "隐私"):
        assert "/m/privacy" in ann.says(said)
    ann.says("找 王记水果")
    # In a conversation with a shop its menu is meant.
    ann.says("菜单")
    assert ann.heard == [("王记水果", "菜单", True)]
    assert ann.says("确认删除我的数据").startswith("好的，您的信息正在删除")
