"""What somebody means who wants to be left alone by one merchant, however it is spelt."""

import pytest

from campaigns.broadcasts import mute, offers
from campaigns.broadcasts.mute import Answer, Came, Shop, Wanted

TEA, NOODLES, HAIR, COFFEE = (
    Shop(1, "王记茶馆", is_muted=False),
    Shop(2, "王记面馆", is_muted=False),
    Shop(3, "龙马理发店", is_muted=True),
    Shop(4, "Coffee 88", is_muted=False),
)
SHOPS = [TEA, NOODLES, HAIR, COFFEE]


def said(text: str, *, context: int | None = None, shops: list[Shop] = SHOPS, has_opted_out: bool = False) -> Answer:
    wish = mute.wish_in(text)
    assert wish is not None
    answer = mute.decide(wish, shops, context_merchant_id=context, has_opted_out=has_opted_out)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    "text",
    [
        "退订 王记茶馆", "退订王记茶馆", "退订：王记茶馆", "  退订  “王记茶馆”！", "退订茶馆", "退订 茶", "退订王茶",
        "退訂 王記茶館", "退订　王记茶馆", "退 订 王 记 茶 馆", "退定王记茶馆", "退订王计茶馆", "退订王记茶馆的广告",
        "退订一下王记茶馆", "请回复退订王记茶馆", "回复“退订 王记茶馆”", "取消订阅王记茶馆", "td王记茶馆",
        "TD 王记茶馆", "ＴＤ王记茶馆", "免打扰 王记茶馆", "退订1", "退订 １", "退订①", "退订第1家", "退订第一家",
        "退订 1。", "退订王记茶馆🙏",
    ],
)  # fmt: skip
def test_one_merchant_is_meant(text: str) -> None:
    assert said(text) == Answer(Came.LEFT, Wanted.LEAVE, TEA)


@pytest.mark.parametrize("text", ["退订 COFFEE", "退订coffee88", "退订 Ｃｏｆｆｅｅ　８８", "退订cofee 88", "退订4"])
def test_latin_names_have_no_case_and_no_width(text: str) -> None:
    assert said(text).shop == COFFEE


@pytest.mark.parametrize(
    "text", ["恢复 龙马", "恢復龍馬理髮店", "回复 恢复 龙马理发店", "恢复3", "恢复", "重新订阅龙马"]
)
def test_it_is_undone(text: str) -> None:
    assert said(text) == Answer(Came.RETURNED, Wanted.RETURN, HAIR)


@pytest.mark.parametrize(
    "text", ["退订全部", "全部退订", "退订 所有", "退訂全部商戶", "退订所有店", "都退订", "TD全部"]
)
def test_everybody_is_meant(text: str) -> None:
    assert said(text).came is Came.LEFT_ALL
    assert said(text, shops=[]).came is Came.LEFT_ALL


@pytest.mark.parametrize("text", ["恢复全部", "全部恢复", "恢復 所有"])
def test_everybody_may_write_again(text: str) -> None:
    assert said(text).came is Came.RETURNED_ALL


@pytest.mark.parametrize("text", ["退订", "退订！", "TD", "退订优惠", "退订吧", "退订群发消息"])
def test_without_a_name_it_is_asked_whose(text: str) -> None:
    assert said(text).came is Came.LISTED


def test_several_that_may_be_meant_are_listed_once_under_the_numbers_they_always_have() -> None:
    answer = said("退订 王记")
    assert (answer.came, answer.choice) == (Came.UNCLEAR, ((1, TEA), (2, NOODLES)))
    assert answer.words == "您说的是哪一家？请回复“退订”加数字，比如：退订 1\n1. 王记茶馆\n2. 王记面馆"
    assert said("退订 2").shop == NOODLES
    # What was left before keeps its number, so that the list in the chat stays true.
    assert said("退订").choice == ((1, TEA), (2, NOODLES), (3, HAIR), (4, COFFEE))
    assert "3. 龙马理发店（已退订）" in said("退订").words


def test_a_name_said_in_full_is_meant_even_where_it_begins_another() -> None:
    short = Shop(5, "王记", is_muted=False)
    assert said("退订王记", shops=[*SHOPS, short]).shop == short
    assert said("退订王记面馆", shops=[*SHOPS, short]).shop == NOODLES
    year = Shop(6, "4", is_muted=False)
    assert said("退订4", shops=[*SHOPS, year]).shop == year


def test_two_of_one_name_are_told_apart_by_number() -> None:
    twins = [Shop(1, "王记", is_muted=False), Shop(2, "王记", is_muted=False)]
    assert said("退订王记", shops=twins).came is Came.UNCLEAR
    assert said("退订 2", shops=twins).shop == twins[1]
    # The undo that we offer works: only one of them was left.
    left = [twins[0], Shop(2, "王记", is_muted=True)]
    assert said("恢复 王记", shops=left).shop == left[1]


def test_what_is_only_like_a_name_is_asked_and_never_done() -> None:
    tea = Shop(1, "王记", is_muted=False)
    answer = said("退订 王计", shops=[tea, COFFEE])
    assert (answer.came, answer.choice) == (Came.UNCLEAR, ((1, tea),))
    assert said("退订 肯德基").came is Came.UNKNOWN
    assert said("退订 9").came is Came.UNKNOWN
    assert said("退订 0").came is Came.UNKNOWN


def test_in_a_merchants_conversation_it_is_asked_whether_that_one_is_meant() -> None:
    answer = said("退订", context=2)
    assert (answer.came, answer.shop) == (Came.ASKED, NOODLES)
    assert answer.words.startswith("要退订王记面馆的优惠消息吗？是的话，请回复：退订 王记面馆")
    assert said("退订 王记面馆", context=1).shop == NOODLES
    # Not the one that was left before, and nobody whose fan one is not.
    assert said("退订", context=3).came is Came.LISTED
    assert said("退订", context=77).came is Came.LISTED
    assert said("退订", shops=[TEA]).shop == TEA


def test_the_answer_confirms_and_offers_the_undo() -> None:
    assert said("退订 茶馆").words == "好的，不再给您发王记茶馆的优惠消息了。回复“恢复 王记茶馆”可随时恢复。"
    assert said("退订 龙马").came is Came.LEFT_BEFORE
    assert said("恢复 茶馆").came is Came.RETURNED_BEFORE
    assert said("退订", shops=[]).came is Came.NOBODYS
    assert said("恢复", shops=[TEA]).words == "您没有退订任何一家店。"


def test_who_left_everybody_is_told_so() -> None:
    assert "恢复全部" in said("恢复 龙马", has_opted_out=True).words
    assert "恢复全部" in said("恢复 茶馆", has_opted_out=True).words
    assert "恢复全部" in said("恢复", shops=[TEA], has_opted_out=True).words


@pytest.mark.parametrize("text", ["你好", "", "我想退订", "关注", "王记茶馆", "回复", "回复我一下", "全部", "today"])
def test_other_words_are_no_wish(text: str) -> None:
    assert mute.wish_in(text) is None


def test_a_sentence_that_begins_with_the_word_is_none_either() -> None:
    wish = mute.wish_in("恢复营业了吗")
    assert wish is not None
    assert mute.decide(wish, SHOPS, context_merchant_id=None) is None


@pytest.mark.parametrize("wanted", ["退订", "退订 不存在的店", "恢复"])
def test_a_long_list_still_fits_into_a_message(wanted: str) -> None:
    shops = [Shop(number, f"{'很长的店名' * 6}{number}", is_muted=wanted == "恢复") for number in range(200)]
    words = said(wanted, shops=shops).words
    assert len(words.encode()) <= 2_048
    assert "……还有" in words


@pytest.mark.parametrize(
    "text", ["优惠", "看优惠", "有什么优惠？", "有什麼優惠嗎", "優惠券", "活动", "有 活动 吗", "今天有什么活动呢"]
)
def test_offers_are_asked_for(text: str) -> None:
    assert offers.are_wanted(text)


@pytest.mark.parametrize("text", ["", "优惠太少了", "不要优惠", "退订优惠", "优惠什么时候结束", "你好"])
def test_other_words_ask_for_none(text: str) -> None:
    assert not offers.are_wanted(text)
