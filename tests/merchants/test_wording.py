"""The linter refuses what would get the account banned, and leaves shopkeepers' everyday words alone."""

import pytest

from core.errors import Invalid, Phrase
from merchants.wording import (
    RULE_NAMES,
    RULES_IN_WORDS,
    ListedWord,
    Severity,
    clean,
    comparable,
    is_allowed_link,
    link_hosts,
    lint,
    lint_card,
    refuse_bad_wording,
)

HOSTS = link_hosts("https://quan.example.cn")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("follow_for_benefit", "关注送红包"),
        ("follow_for_benefit", "点关注领优惠券"),
        ("follow_for_benefit", "关 注·即 送 鸡蛋一盘"),
        ("follow_for_benefit", "關註我們，領取禮品"),
        ("follow_for_benefit", "扫码关注公众号，立减5元"),
        ("follow_for_benefit", "关注即可参与抽奖"),
        ("follow_for_benefit", "想领券请先关注我们"),
        ("follow_for_benefit", "新关注用户领5元券"),
        ("follow_for_benefit", "关注公众号解锁全文"),
        ("follow_for_benefit", "Follow us to get a free coupon"),
        ("share_for_benefit", "转发本文到朋友圈，免费领取大礼包"),
        ("share_for_benefit", "分享到朋友圈得优惠券"),
        ("share_for_benefit", "凭转发截图享8折"),
        ("share_for_benefit", "集赞38个送水杯"),
        ("share_for_benefit", "集满20个赞换购"),
        ("share_for_benefit", "帮我砍价"),
        ("share_for_benefit", "share this and win"),
        ("invite_for_benefit", "邀请3位好友返现10元"),
        ("invite_for_benefit", "把我们推荐给邻居，您和邻居各减5元"),
        ("invite_for_benefit", "拉新人送红包"),
        ("sharing_pressure", "不转不是中国人"),
        ("cashback", "消费返利"),
        ("phishing", "请把验证码发给我们"),
        ("cure", "三天根治失眠"),
        ("cure", "艾灸能治关节炎"),
        ("link", "看看 http://evil.example/a"),
        ("link", "都在evil-shop.com了"),
        ("link", "javascript:alert(1)"),
        ("link", '<a href="http://evil.cn">菜单</a>'),
        ("link", "http://mp.weixin.qq.com@evil.cn/s"),
        ("link", "http://mp.weixin.qq.com.evil.cn/s"),
        ("unprintable", "好\u202e字"),
        ("unprintable", "好\x00字"),
    ],
)
def test_dangerous_wording_is_found_and_explained(rule: str, text: str) -> None:
    findings = [finding for finding in lint(text, hosts=HOSTS) if finding.rule == rule]
    assert findings
    assert findings[0].text
    assert findings[0].advice


@pytest.mark.parametrize(
    "text",
    [
        "无需关注即可领取",
        "不用关注，到店就送豆浆",
        "感谢关注！新人到店送饮料一份",
        "感谢您的关注，到店即送小礼品",
        "到店消费满30减5元",
        "我们关注食品安全，只用当天的菜",
        "欢迎分享给朋友",
        "带朋友来的可以免费试吃",
        "地址：3号楼底商，电话 0571-88888888",
        "第二份半价，支持积分抵现",
        "本店WiFi密码：88888888",
        "输入密码88888888连WiFi",
        "看看 https://mp.weixin.qq.com/s/abc，很好玩",
        '<a href="https://quan.example.cn/q/abc">本店介绍</a>',
        "营业 6:00-22:00\n周一休息 🥟👨‍👩‍👧",
    ],
)
def test_everyday_wording_passes(text: str) -> None:
    assert lint(text, hosts=HOSTS) == []


@pytest.mark.parametrize(
    ("text", "words", "instead"),
    [
        ("全城最便宜的豆浆", "全城最便宜", "实惠"),
        ("本店最好吃的是粢饭团", "最好吃", "好吃"),
        ("销量第一", "销量第一", "受欢迎"),
        ("NO.1 的烤鸭", "NO1", "受欢迎"),
        ("顶级食材", "顶级", "优质"),
        ("100%有效", "100有效", "放心"),
    ],
)
def test_claims_nobody_can_prove_are_doubted_and_a_wording_is_offered(text: str, words: str, instead: str) -> None:
    (finding,) = lint(text)
    assert (finding.rule, finding.severity, finding.instead) == ("absolute", Severity.DOUBTFUL, instead)
    refuse_bad_wording(text, field="text")


@pytest.mark.parametrize(
    "text", ["最新到货", "最近三天", "最后两盒", "最多带两位", "第一家店在三号楼", "最晚营业到十点"]
)
def test_words_that_rank_nothing_pass(text: str) -> None:
    assert lint(text) == []


def test_a_card_with_a_price_says_that_it_is_an_advertisement() -> None:
    (finding,) = lint_card("端午粽子", "满30减5，今天取")
    assert (finding.rule, finding.instead) == ("label", "【广告】端午粽子")
    assert lint_card("【广告】端午粽子", "满30减5") == []
    assert lint_card("端午粽子", "今天现包") == []


@pytest.mark.parametrize("text", ["来隔壁·老 李家", "隔 壁老李家", "隔壁老李家！"])
def test_the_operators_words_are_found_however_they_are_spelled(text: str) -> None:
    word = ListedWord("隔壁老李", Severity.REFUSED, "不提同行")
    with pytest.raises(Invalid, match="不提同行"):
        refuse_bad_wording(text, field="text", listed=[word])
    refuse_bad_wording(text, field="text", listed=[ListedWord("隔壁老李", Severity.DOUBTFUL)])
    assert comparable("ＶＩＰ 群") == "vip群"


def test_a_listed_word_is_made_comparable_once_for_all_texts() -> None:
    word = ListedWord("ＶＩＰ 群", Severity.REFUSED)
    for text in ("进vip群", "VIP 群等你"):
        assert [finding.text for finding in lint(text, listed=[word])] == [word.word]
    assert word.comparable is word.comparable == "vip群"


def test_every_rule_in_words_breaks_itself() -> None:
    for rule, severity, example in RULES_IN_WORDS:
        found = lint_card("", example.partition("，")[0]) if rule == "label" else lint(example, hosts=HOSTS)
        assert (rule, severity) in {(one.rule, one.severity) for one in found}
        assert rule in RULE_NAMES


def test_refusal_says_which_words_and_why_and_keeps_every_finding() -> None:
    with pytest.raises(Invalid, match="这样写：微信禁止用好处换关注") as refusal:
        refuse_bad_wording("关注送红包，转发再送券", field="text")
    assert refusal.value.field == "text"
    assert {finding.rule for finding in refusal.value.detail["findings"]} == {"follow_for_benefit", "share_for_benefit"}


def test_too_long_is_a_finding() -> None:
    assert [finding.rule for finding in lint("好" * 11, longest=10)] == ["too_long"]


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://quan.example.cn/q/abc", True),
        ("http://mp.weixin.qq.com/s/abc?x=1#y", True),
        ("https://QUAN.example.cn/q/abc", True),
        ("https://quan.example.cn:8443/q/abc", False),
        ("https://quan.example.cn\\@evil.cn/", False),
        ("https://quan.example.cn /", False),
        ("//quan.example.cn/", False),
        ("ftp://quan.example.cn/", False),
        ("https://[::1/", False),
        ("https://quan.example.cn/{商户}", False),
    ],
)
def test_links_lead_to_known_hosts_only(url: str, is_allowed: bool) -> None:
    assert is_allowed_link(url, HOSTS) is is_allowed


def test_short_fields_are_stored_trimmed_and_composed() -> None:
    assert clean("  e\u0301te ", name=Phrase("名称"), field="name", longest=3) == "éte"
    assert clean("一\r\n二", name=Phrase("介绍"), field="intro", longest=9, lines=True) == "一\n二"


@pytest.mark.parametrize("value", ["", "   ", "四个字了", "一\n二", "一\u200b"])
def test_short_fields_refuse_what_nobody_can_read(value: str) -> None:
    with pytest.raises(Invalid) as refusal:
        clean(value, name=Phrase("名称"), field="name", longest=3, is_required=True)
    assert refusal.value.field == "name"
