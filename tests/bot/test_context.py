"""Whom an owner talks to: set by a scan, a name, a number or a tap, kept, and asked for once."""

from datetime import datetime, timedelta
from difflib import SequenceMatcher
from itertools import permutations

import pytest
from sqlalchemy import text

from bot import context
from bot.context import By, Question, Shops
from bot.erasers import ERASE, erase_follower
from bot.inbox import Inbox
from bot.retention import FORGET, forget_old, owe
from campaigns.broadcasts import mute
from campaigns.broadcasts.mute import Shop
from campaigns.broadcasts.spelling import plain
from core import jobs, outbox
from core.database import Role
from core.runtime import Runtime
from qrcodes import codes
from tests.bot.chat import HOUR, MINUTE, SECOND, Person, fan, rows
from tests.community import Code, Neighbourhood, new_openid, scanned, wrote
from tests.conftest import advance

NOON = datetime.fromisoformat("2026-11-02T04:00:00Z")
SHOPS = Shops({1: "王记水果", 2: "老王板材店", 3: "王记茶馆", 4: "花"}, frozenset({"水果"}))
FRUIT, TEA = Shop(1, "王记水果", is_muted=False), Shop(3, "王记茶馆", is_muted=False)


@pytest.fixture
def fruit(street: Neighbourhood) -> Code:
    return street.code(street.merchant("王记水果"))


@pytest.fixture
def tea(street: Neighbourhood) -> Code:
    return street.code(street.merchant("李家茶馆"))


# ---- What a text says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("2", 2), ("２", 2), ("②", 2), ("2️⃣", 2), (" 2。", 2), ("二", 2), ("第二家", 2), ("2号", 2), ("2号店", 2),
        ("选2", 2), ("要两个", None), ("来2个", None), ("就2", 2), ("我要选二", 2),
        ("我要第二家", 2), ("我要2", 2), ("两", 2), ("第十家", 10), ("12", 12), ("请回复：3", 3), ("一家", 1),
        ("二十", None), ("二手", None), ("2斤", None), ("两斤苹果", None), ("2点关门吗", None), ("", None),
        ("1234", None),
        ("一", 1), ("第", None),
    ],
)  # fmt: skip
def test_numbers_are_understood_however_they_are_written(said: str, number: int | None) -> None:
    assert context.number_in(said) == number


@pytest.mark.parametrize(
    "said",
    ["找 王记水果", "找王記水果", "和王记水果聊", "我要找王记水果", "王记水果", "联系 王记水果。", "跟 王记水果 说话",
     "请回复：找 王记水果", "找　王记水果！", "切换到王记水果", "找水果", "我想和王记水果聊聊"],
)  # fmt: skip
def test_a_shop_is_called_by_its_name(said: str) -> None:
    meant = context.meant_by(said, known=[FRUIT], shops=SHOPS)
    assert meant is not None
    assert meant.shops == (FRUIT,)


def test_with_the_word_before_it_one_character_of_a_name_is_enough_to_be_asked(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street)
    assert ann.says("找 茶").startswith("您想找哪家店？请回复数字：\n1. 李家茶馆")
    assert "聊天" in ann.says("1")
    assert ann.says("找王") == ""
    assert ann.heard == [("李家茶馆", "找王", True)], "to a shop it is a sentence"
    assert "1. 王记水果" in ann.says("找 王")
    assert "没有找到“鱼”这家店" in ann.says("找 鱼", after=48 * HOUR)


def test_the_word_alone_asks_which_shop(street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code) -> None:
    ann = fan(inbox, street, fruit, tea)
    for said in ("找", "找 店名"):
        assert ann.says(said).startswith("您想找哪家店？请回复数字：\n1.")


def test_several_of_that_name_are_several_and_none_is_none() -> None:
    several = context.meant_by("找 王记", known=[], shops=SHOPS)
    assert several is not None
    assert [shop.merchant_id for shop in several.shops] == [1, 3]
    nobody = context.meant_by("找 药房", known=[], shops=SHOPS)
    assert nobody is not None
    assert (nobody.shops, nobody.unknown) == ((), "药房")
    for sentence in ("有苹果吗", "王记水果今天开门吗", "和气生财", "花", "退订 王记水果"):
        assert context.meant_by(sentence, known=[FRUIT], shops=SHOPS) is None, sentence


@pytest.mark.parametrize(
    ("said", "says_more"),
    [
        ("找王记水果 有西瓜吗", True), ("联系王记水果五斤苹果", True), ("找一下我昨天在王记水果落的伞", True),
        ("找王记水果的老板", False), ("找水果", False), ("找王记水果那家店吧", False),
    ],
)  # fmt: skip
def test_what_stands_beside_a_name_is_for_the_shop(said: str, says_more: bool) -> None:
    for known in ([], [FRUIT]):
        meant = context.meant_by(said, known=known, shops=SHOPS)
        assert meant is not None
        assert (meant.shops, meant.says_more) == ((FRUIT,), says_more)


def test_the_platform_is_somebody_to_talk_to() -> None:
    for said in ("退出", "找平台", "退出聊天。", "回到平台"):
        meant = context.meant_by(said, known=[FRUIT], shops=SHOPS)
        assert meant is not None
        assert meant.is_platform, said


def test_a_question_is_answered_by_number_and_name_while_it_is_open() -> None:
    question = Question.which([FRUIT, TEA], at=NOON)

    def answer(said: str, after: timedelta = HOUR) -> tuple[int | None, bool] | None:
        reply = context.reply_to(question, said, at=NOON + after, shops=SHOPS)
        if reply is None:
            return None
        return None if reply.shop is None else reply.shop.merchant_id, reply.is_only_that

    assert answer("第二家") == (3, True)
    assert answer("水果") == (1, True)
    assert answer("找茶馆") == (3, True)
    assert answer("王记水果有西瓜吗") == (1, False)
    assert answer("9") == (None, True)
    assert answer("王记") is None
    assert answer("水果那家") == (1, True)
    assert answer("是水果店吧") == (1, True)
    assert answer("我要茶馆的那个") == (3, True)
    assert answer("王记水果那家店") == (1, True)
    assert answer("记那家") is None
    assert answer("家那家") is None
    assert answer("回老家") is None
    assert answer("有水果吗") is None
    assert answer("2", timedelta(hours=12)) is None
    assert answer("2", -SECOND) is None


def test_a_name_that_is_nearly_right_is_found_and_markup_is_none() -> None:
    near = SHOPS.nearest(plain("王計水果"))
    assert near == FRUIT
    assert SHOPS.nearest("有什么水果") is None
    assert context.shown('<a href="x">店</a>\n') == '〈a href="x"〉店〈/a〉 '
    assert len(context.shown("长" * 100)) == context.NAME_SHOWN


def test_among_two_thousand_alike_names_few_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {number: f"小区水果店{number}号" for number in range(1, 2_001)} | {9_001: "王记茶馆"}
    shops, compared = Shops(names), list[str]()

    def alike(junk: None, said: str, name: str, *, autojunk: bool) -> SequenceMatcher[str]:
        compared.append(name)
        return SequenceMatcher(junk, said, name, autojunk=autojunk)

    monkeypatch.setattr(mute, "SequenceMatcher", alike)
    assert shops.nearest("小区水果店一七号") is None
    assert 0 < len(compared) <= context.MOST_COMPARED
    compared.clear()
    assert shops.nearest("王计茶馆") == shops.shop(9_001)
    assert compared == ["王记茶馆"]


# ---- Stories ---------------------------------------------------------------------------------------------------------


def test_a_scan_sets_whom_one_talks_to_and_a_name_another(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    ann.scans(fruit)
    assert ann.says("有苹果吗").startswith("您正在和 王记水果 聊天")
    assert ann.says("找 茶馆").startswith("您正在和 李家茶馆 聊天")
    assert ann.says("几点关门") == ""
    assert ann.says("王记水果").startswith("您正在和 王记水果 聊天")
    assert ann.says("苹果多少钱") == ""
    assert ann.heard == [
        ("王记水果", "有苹果吗", True),
        ("李家茶馆", "几点关门", True),
        ("王记水果", "苹果多少钱", True),
    ]
    assert ann.windows == ["王记水果", "李家茶馆", "李家茶馆", "王记水果", "王记水果"]
    assert ann.answered_by[-5:] == ["talk", "switch", "talk", "switch", "talk"]


def test_a_conversation_counts_for_two_days_from_its_last_message(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    ann.says("找 茶馆")
    ann.says("在吗", after=40 * HOUR)
    ann.says("还在吗", after=40 * HOUR)
    assert ann.windows == ["李家茶馆"] * 3
    assert ann.says("还开吗", after=49 * HOUR).startswith("您想找哪家店？")


def test_who_talks_to_nobody_is_asked_once_and_what_they_wrote_is_passed_on(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    asked = ann.says("有没有打折的西瓜")
    assert asked.startswith("您想找哪家店？请回复数字，刚才的话就转给那家店：\n1. 王记水果\n2. 李家茶馆")
    assert ann.says("要两个").startswith("要发给哪家店，请回复上面列表里的数字")
    assert ann.heard == []
    assert ann.says("7").startswith("没有这个数字。请回复 1 到 2")
    assert ann.says("１号").startswith("刚才的话已经转给店家。\n您正在和 王记水果 聊天")
    assert ann.heard == [("王记水果", "有没有打折的西瓜", True), ("王记水果", "要两个", True)]
    said = rows(runtime, "SELECT direction, left(content, 21) FROM talk_message ORDER BY id")
    assert said == [
        ("in", "有没有打折的西瓜"), ("in", "要两个"), ("auto", "刚才的话已经转给店家。\n您正在和 王记水果"),
    ], "the shop sees what they were told"  # fmt: skip
    assert ann.windows[-1] == "王记水果"
    assert rows(runtime, "SELECT count(*) FROM pending_question") == [(0,)]
    # The question is answered: a number is a message to the shop from now on.
    ann.says("2")
    assert ann.heard[-1] == ("王记水果", "2", True)
    assert ann.answered_by[-5:] == ["asked", "line", "asked", "choice", "talk"]


def test_what_waits_survives_a_second_question(street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code) -> None:
    street.merchant("百合花店")
    street.merchant("百合药店")
    ann = fan(inbox, street, fruit, tea)
    ann.says("几点关门")
    assert ann.says("找 百合").startswith("您想找哪家店？请回复数字，刚才的话就转给那家店：")
    assert ann.says("1").startswith("刚才的话已经转给店家。")
    assert ann.heard == [("百合花店", "几点关门", True)]


def test_a_scan_overtakes_the_question_and_takes_along_what_waited(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    assert ann.says("有苹果吗").startswith("您想找哪家店？")
    ann.scans(fruit)
    ann.says("2")
    assert ann.heard == [("王记水果", "有苹果吗", True), ("王记水果", "2", True)]
    assert rows(runtime, "SELECT count(*) FROM pending_question") == [(0,)]


def test_of_two_messages_that_overtook_each_other_both_wait_for_the_choice(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    first = wrote(ann.openid, ann.now, "有苹果吗")
    ann.now += 2 * SECOND
    assert ann.says("要红富士").startswith("您想找哪家店？")
    assert inbox.receive([first]) == [None]
    ann.says("1")
    assert ann.heard == [("王记水果", "有苹果吗", True), ("王记水果", "要红富士", True)]


@pytest.mark.parametrize("how", ["name", "scan"])
def test_what_overtook_the_choice_of_its_shop_is_heard_there(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code, how: str
) -> None:
    ann = fan(inbox, street, fruit, tea)
    chosen = wrote(ann.openid, ann.now, "找 李家茶馆") if how == "name" else scanned(ann.openid, ann.now, tea.scene)
    ann.now += 2 * SECOND
    assert ann.says("有龙井吗").startswith("您想找哪家店？")
    inbox.receive([chosen])
    if how == "scan":
        assert ann.heard == []
    else:
        assert ann.heard == [("李家茶馆", "有龙井吗", True)]
    ann.says("要二两")
    assert ann.heard == [("李家茶馆", "有龙井吗", True), ("李家茶馆", "要二两", True)]


@pytest.mark.parametrize("how", ["name", "scan"])
def test_what_was_overtaken_by_the_choice_of_its_shop_is_heard_there(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code, how: str
) -> None:
    ann = fan(inbox, street, fruit, tea)
    said = wrote(ann.openid, ann.now, "有龙井吗")
    ann.now += 2 * SECOND
    if how == "name":
        ann.says("找 李家茶馆")
    else:
        ann.scans(tea)
    assert inbox.receive([said]) == [None]
    ann.says("1")
    assert ann.heard == [("李家茶馆", "有龙井吗", True), ("李家茶馆", "1", True)]


def test_who_said_more_than_was_asked_about_is_asked_with_the_next_message(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    said = wrote(ann.openid, ann.now, "有龙井吗")
    ann.now += 2 * SECOND
    ann.says("谢谢")
    assert inbox.receive([said]) == [None]
    assert ann.says("要二两").startswith("您想找哪家店？")
    ann.says("2")
    assert ann.heard == [("李家茶馆", "有龙井吗", True), ("李家茶馆", "要二两", True)]


def test_what_waited_for_a_scan_waits_on_for_who_asks_for_another_shop_after_it(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    ann.says("有龙井吗")
    ann.scans(fruit)
    assert ann.says("换一家").startswith("您想找哪家店？请回复数字，刚才的话就转给那家店：")
    assert ann.says("2").startswith("刚才的话已经转给店家。")
    assert ann.heard == [("李家茶馆", "有龙井吗", True)]


def test_a_name_that_was_not_on_the_list_answers_it_too(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    street.merchant("百合花店")
    ann = fan(inbox, street, fruit, tea)
    ann.says("有玫瑰吗")
    assert ann.says("找 花店").startswith("刚才的话已经转给店家。\n您正在和 百合花店 聊天")
    assert ann.heard == [("百合花店", "有玫瑰吗", True)]


def test_a_question_that_is_ignored_is_asked_again_only_after_half_a_day(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    assert ann.says("有人吗").startswith("您想找哪家店？")
    assert not ann.says("怎么没人", after=11 * HOUR).startswith("您想找哪家店？")
    assert ann.says("有人吗", after=HOUR).startswith("您想找哪家店？")


def test_the_only_shop_it_can_be_is_it(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    ann.says("退订 茶馆")
    assert ann.says("明天开门吗").startswith("您正在和 王记水果 聊天")
    assert ann.heard == [("王记水果", "明天开门吗", True)]
    assert ann.says("退出").startswith("好的，现在是")
    # Who has left is not led back by what they write next.
    assert "找 店名" in ann.says("后天呢")
    assert ann.windows == [None, "王记水果", None, None]
    assert rows(runtime, "SELECT by, merchant_id IS NULL FROM context_choice ORDER BY at") == [
        ("only", False), ("name", True)]  # fmt: skip


def test_a_stranger_gets_one_line_that_helps(street: Neighbourhood, inbox: Inbox, fruit: Code) -> None:
    ben = fan(inbox, street)
    assert "能问什么请回复：帮助" in ben.says("asdf")
    assert ben.says("优会券") == "您是想问“优惠券”吗？是的话，请回复：优惠券"
    assert ben.says("王計水果") == "您是想找 王记水果 吗？是的话，请回复：找 王记水果"
    assert ben.says("谢谢！").startswith("不客气！")
    assert ben.says("找 药房").startswith("没有找到“药房”这家店")
    assert ben.answered_by[-5:] == ["line", "line", "line", "line", "switch"]


def test_a_slip_of_the_pen_is_asked_about_before_anybody_is_troubled_with_it(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    for person in (fan(inbox, street, fruit), fan(inbox, street, fruit, tea)):
        assert person.says("优会券").startswith("您是想问“优惠券”吗？")
        assert person.says("王計水果").startswith("您是想找 王记水果 吗？")
        assert person.heard == []


def test_of_two_scans_in_one_second_the_one_told_last_counts(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    for scans, name in (((fruit, tea), "李家茶馆"), ((tea, fruit), "王记水果")):
        ann = fan(inbox, street)
        for code in scans:
            inbox.receive([scanned(ann.openid, ann.now, code.scene)])
        with runtime.database.transaction(Role.MIGRATE) as session:
            # In a table known to be small rows are not read in the order of an index.
            session.execute(text("ANALYZE scan"))
        ann.says("有货吗")
        assert ann.heard == [(name, "有货吗", True)]


def test_who_names_another_shop_and_goes_on_is_heard_there(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit)
    ann.scans(fruit)
    assert ann.says("找李家茶馆半斤龙井").startswith("刚才的话已经转给店家。\n您正在和 李家茶馆 聊天")
    assert ann.heard == [("李家茶馆", "找李家茶馆半斤龙井", True)]


def test_a_name_called_with_a_slip_is_asked_about_and_told_to_no_shop(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit)
    ann.scans(fruit)
    assert ann.says("找 李家茶官") == "您是想找 李家茶馆 吗？是的话，请回复：找 李家茶馆"
    assert ann.heard == []
    ann.says("找零钱了吗")
    assert ann.heard == [("王记水果", "找零钱了吗", True)]


def test_a_menu_entry_switches_and_says_words(street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code) -> None:
    ann = fan(inbox, street, fruit, tea)
    assert ann.taps(f"merchant:{tea.merchant_id}").startswith("您正在和 李家茶馆 聊天")
    ann.says("有位子吗")
    assert ann.heard == [("李家茶馆", "有位子吗", True)]
    assert ann.taps("words:找 王记水果").startswith("您正在和 王记水果 聊天")
    assert "优惠券 · 积分" in ann.taps("words:帮助")
    assert "要立刻全部删除" in ann.taps("words:确认删除我的信息")
    for key in ("merchant:0", "merchant:²", f"merchant:{10**30}", "merchant:x", "SOMETHING"):
        assert ann.taps(key) == ""


def test_a_late_message_reads_the_conversation_of_its_own_moment(
    street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    start = street.now - HOUR
    inbox.receive([wrote(ann.openid, start, "找 王记水果")])
    inbox.receive([wrote(ann.openid, start + 10 * MINUTE, "找 茶馆")])
    assert inbox.receive([wrote(ann.openid, start + MINUTE, "来两斤苹果")]) == [None]
    assert inbox.receive([wrote(ann.openid, start - MINUTE, "这时还没说找谁")]) == [None]
    assert inbox.receive([wrote(ann.openid, start + 11 * MINUTE, "来壶茶")]) == [None]
    assert ann.heard == [("王记水果", "来两斤苹果", True), ("李家茶馆", "来壶茶", True)]
    assert sorted(map(str, ann.answered_by[-5:])) == ["none", "switch", "switch", "talk", "talk"]


def test_any_order_ends_in_the_same_conversation(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ends = []
    for order in permutations(range(3)):
        ann = fan(inbox, street, fruit, tea)
        story = [wrote(ann.openid, street.now - (9 - minute) * MINUTE, said)
                 for minute, said in enumerate(("找 王记水果", "找 茶馆", "退出"))]  # fmt: skip
        for index in (*order, *order):
            inbox.receive([story[index]])
        assert "请先回复：找 店名" in ann.says("有人吗")
        ends.append(rows(runtime, """
            SELECT c.merchant_id, c.at, c.by FROM context_choice c JOIN follower f ON f.id = c.follower_id
            WHERE f.openid = :me ORDER BY c.at""", me=ann.openid))  # fmt: skip
    assert all(end == ends[0] for end in ends)


def test_a_repeat_finds_its_first_answer_whoever_one_talks_to_by_then(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    question, number = wrote(ann.openid, ann.now, "几点关门"), wrote(ann.openid, ann.now + SECOND, "2")
    first = [inbox.receive([event])[0] for event in (question, number)]
    inbox.receive([wrote(ann.openid, ann.now + MINUTE, "找 王记水果")])
    assert [inbox.receive([event])[0] for event in (question, number)] == first
    assert ann.heard == [("李家茶馆", "几点关门", True)]
    assert rows(runtime, "SELECT count(*) FROM context_choice") == [(2,)]


def test_a_shop_that_is_suspended_is_nobody_to_talk_to(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann = fan(inbox, street, fruit, tea)
    ann.says("找 茶馆")
    other = Inbox(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        codes.suspend_merchant(session, merchant_id=tea.merchant_id, now=runtime.now())
    assert ann.says("有位子吗").startswith("您正在和 王记水果 聊天")
    assert ann.says("李家茶馆") == ""
    assert Person(other, ann.openid, ann.now).says("找 李家茶馆") == ""
    assert [shop for shop, *_ in ann.heard] == ["王记水果"] * 3


def test_no_window_is_opened_for_a_shop_that_is_suspended(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, tea: Code
) -> None:
    ann = fan(inbox, street, tea)
    ann.scans(tea)

    def opened() -> list[int | None]:
        """Whose windows a word, a tap and a scan open."""
        ann.says("几点关门")
        ann.taps("hours")
        ann.scans(tea)
        newest = rows(runtime, "SELECT merchant_id FROM message_window ORDER BY inbox_id DESC LIMIT 3")
        return [merchant_id for (merchant_id,) in newest]

    assert opened() == [tea.merchant_id] * 3
    with runtime.transaction(Role.PLATFORM) as session:
        codes.suspend_merchant(session, merchant_id=tea.merchant_id, now=ann.now)
    assert opened() == [None] * 3


def test_a_batch_decides_for_each_of_its_people(street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code) -> None:
    people = [fan(inbox, street, fruit, tea) for _ in range(4)]
    for number, person in enumerate(people):
        person.says(("找 王记水果", "找 茶馆", "退出", "有人吗")[number])
    replies = inbox.receive([wrote(one.openid, one.now, "1") for one in people])
    assert ["刚才的话已经转给店家" in (reply or "") for reply in replies] == [False, False, False, True]
    assert [one.heard for one in people] == [
        [("王记水果", "1", True)], [("李家茶馆", "1", True)], [], [("王记水果", "有人吗", True)]]  # fmt: skip


def test_an_erasure_and_time_forget_whom_one_talked_to(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    ann, ben = fan(inbox, street, fruit, tea), fan(inbox, street, fruit, tea)
    for person in (ann, ben):
        person.says("找 茶馆")
        person.says("退出")
        person.says("换一家")
    ann.says("确认删除我的数据")
    jobs.drain(runtime, {ERASE: erase_follower}, outbox.DEFAULT)
    counts = "SELECT (SELECT count(*) FROM context_choice), (SELECT count(*) FROM pending_question)"
    assert rows(runtime, counts) == [(2, 1)]
    advance(runtime, timedelta(days=11))
    with runtime.transaction(Role.PLATFORM) as session:
        owe(session, runtime.now())
    jobs.drain(runtime, {FORGET: forget_old}, outbox.DEFAULT)
    assert rows(runtime, counts) == [(0, 0)]


def test_nobody_is_asked_between_shops_they_never_met(street: Neighbourhood, inbox: Inbox, fruit: Code) -> None:
    stranger = Person(inbox, new_openid(), street.now)
    assert "找 王记" in stranger.says("换一家")
    assert stranger.says("找 王记").startswith("您正在和 王记水果 聊天")
    assert context.Choice(fruit.merchant_id, By.NAME).merchant_id == fruit.merchant_id
