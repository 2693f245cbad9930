"""What may be said to the public: a linter for everything a merchant writes, and the cleaning of short fields.

One shop that rewards following or sharing can have the account banned, and every merchant on it with it. So the
linter refuses before anybody is reached, and says why; what is a matter of judgement it only doubts, for the author
to reword and the operator to look at. The operator's approval stays the second look.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final
from urllib.parse import urlsplit

from core.errors import Invalid, Phrase

PLATFORM_HOSTS: Final = frozenset({"mp.weixin.qq.com", "weixin.qq.com"})

FOLLOW_ADVICE = Phrase("微信禁止用好处换关注，一家违规，整个公众号都会被封。请改成到店、消费就能享受，不提关注。")
SHARE_ADVICE = Phrase("微信禁止用好处换转发、集赞或拉人，一家违规，整个公众号都会被封。请删掉这个条件。")
PRESSURE_ADVICE = Phrase("微信禁止催人转发或用话术施压，请删掉这句话。")
CASHBACK_ADVICE = Phrase("返利、躺赚、发展下线会被当作传销处理，请删掉。")
PHISHING_ADVICE = Phrase("不能向顾客索要密码、验证码、银行卡或身份证号，请删掉。")
LINK_ADVICE = Phrase("只能放本系统和公众号文章的链接，其他链接会被当作钓鱼拦截。")
TOO_LONG_ADVICE = Phrase("太长了，请缩短。")
UNPRINTABLE_ADVICE = Phrase("含有看不见的特殊字符，请删掉后重新输入。")
ABSOLUTE_ADVICE = Phrase("广告法不许用“最”“第一”“顶级”这类绝对化的说法，被举报会罚款。")
CURE_ADVICE = Phrase("不是医疗机构不能说治病、疗效、根治，请删掉。")
LABEL_ADVICE = Phrase("带优惠的图文是广告，请在标题或摘要里写上“广告”两个字。")
LISTED_ADVICE = Phrase("这个词在运营的敏感词表里，请换一个说法。")


RULE_NAMES: Final = {
    "follow_for_benefit": Phrase("诱导关注"),
    "share_for_benefit": Phrase("诱导分享"),
    "invite_for_benefit": Phrase("拉人得利"),
    "sharing_pressure": Phrase("催人转发"),
    "cashback": Phrase("返利传销"),
    "phishing": Phrase("索要隐私"),
    "cure": Phrase("医疗用语"),
    "link": Phrase("外站链接"),
    "listed": Phrase("敏感词"),
    "absolute": Phrase("绝对化用语"),
    "label": Phrase("缺少广告标识"),
    "unprintable": Phrase("特殊字符"),
    "too_long": Phrase("太长"),
}
"""What each rule is called in front of people."""


class Severity(StrEnum):
    REFUSED = "refused"
    """It cannot be saved."""
    DOUBTFUL = "doubtful"
    """It can be sent in; author and operator are told."""


@dataclass(frozen=True)
class Finding:
    """One thing that should not be said: which rule, the words that broke it, why, and a wording that would do."""

    rule: str
    text: str
    advice: str
    severity: Severity = Severity.REFUSED
    instead: str = ""
    """What could stand in the place of `text`; empty where the words can only go."""

    @property
    def name(self) -> Phrase:
        """What the rule is called in front of people."""
        return RULE_NAMES[self.rule]


@dataclass(frozen=True)
class ListedWord:
    """A word of the operator's own list."""

    word: str
    severity: Severity
    advice: str = ""

    @cached_property
    def comparable(self) -> str:
        """The word as it is looked for, made once: a list of thousands is held against every text of a page."""
        return comparable(self.word)


# Sentences are looked at one by one, without what is put between characters to hide them from a filter.
_SENTENCE_END = re.compile(r"[。！？!?；;\n\r]+")
_HIDDEN_BETWEEN = re.compile(r"[^\w，,：:“”\"]|_")
_TRADITIONAL = str.maketrans("關註領贈轉發紅獎禮讚點請優時獲現驗證碼", "关注领赠转发红奖礼赞点请优时获现验证码")

_BENEFIT = (
    r"(?:送|赠|领|得|抽|返|减|免|享|兑|奖|换|红包|优惠|折|礼|券|积分|福利|现金|抵)"
    # "得" and "免" are common in ordinary words.
    r"(?!到您|了解|知|意|不了|责|得)"
)
# "No need to follow" is what we want people to say; a mere thank-you for following says nothing about a reward.
_NO_NEED = "".join(
    f"(?<!{words})"
    for words in (
        *("无需", "不用", "不必", "无须", "不需", "不需要", "没有", "未"),
        *(f"{thanks}{whose}" for thanks in ("感谢", "谢谢") for whose in ("", "您", "你", "您的", "你的")),
    )
)
_FOLLOW = rf"{_NO_NEED}(?:关注|加关|订阅)(?!度|点)"
_SHARE = (
    r"(?<!无需)(?<!不用)(?<!不必)(?<!无须)"
    r"(?:转发|分享|转给|转到|发(?:到)?朋友圈|发(?:到)?群|发圈|晒(?:到|朋友圈)|推荐给)"
)
_INVITE = (
    r"(?:邀请?|拉|推荐|介绍)[^，,]{0,6}"
    r"(?:好友|朋友|亲友|邻居|新人|同事|家人|入群|进群|[\d一二两三四五六七八九十]人)"
)
_DEMAND = r".{0,10}?(?:需|要|请|先|须|必须|前提|条件|凭).{0,4}"
_EN_BENEFIT = r"(?:toget|get|win|earn|free|gift|coupon|unlock|discount|cash|reward)"

_RULES: Final[tuple[tuple[str, Phrase, tuple[str, ...]], ...]] = (
    (
        "follow_for_benefit",
        FOLLOW_ADVICE,
        (
            rf"{_FOLLOW}.{{0,12}}?{_BENEFIT}",
            rf"{_BENEFIT}{_DEMAND}{_FOLLOW}",
            rf"{_FOLLOW}.{{0,8}}?(?:即可|才能|才可|方可|就能|就可以|解锁|可见|可看|查看全文|看答案)",
            rf"follow.{{0,20}}{_EN_BENEFIT}",
        ),
    ),
    (
        "share_for_benefit",
        SHARE_ADVICE,
        (
            rf"{_SHARE}.{{0,16}}?{_BENEFIT}",
            rf"{_BENEFIT}{_DEMAND}{_SHARE}",
            r"(?:集|攒|求|凑|收集|满)\d*(?:个|枚)?(?:点)?赞",
            r"点赞.{0,8}(?:送|领|得|抽|换|免)",
            r"(?:帮我|好友|邀友|找人|求).{0,3}(?:助力|砍价|加速|解锁)|砍一刀",
            rf"(?:share|forward|repost).{{0,20}}{_EN_BENEFIT}",
        ),
    ),
    (
        "invite_for_benefit",
        SHARE_ADVICE,
        (
            rf"{_INVITE}.{{0,14}}?(?:{_BENEFIT}|赚|佣|提成)",
            rf"(?:invite|refer)\w{{0,20}}{_EN_BENEFIT}",
        ),
    ),
    (
        "sharing_pressure",
        PRESSURE_ADVICE,
        (
            r"不(?:转发|转|分享).{0,4}(?:不是|就是|对不起|后悔|倒霉)",
            r"是.{0,4}人就转|必转|速转|转疯了|赶紧转发|为了.{0,6}请转发",
        ),
    ),
    (
        "cashback",
        CASHBACK_ADVICE,
        (r"返利|消费返|全额返|躺赚|发展下线|拉人头|招代理.{0,6}(?:费|层|级)|[三四五六多]级分销",),
    ),
    (
        "phishing",
        PHISHING_ADVICE,
        (
            r"(?:发来|发送|报|告诉|提供|回复).{0,8}(?:验证码|密码|银行卡|身份证)",
            r"(?:验证码|密码|银行卡号|身份证号).{0,6}(?:发给|发到|告诉|提供|回复)",
        ),
    ),
    (
        "cure",
        CURE_ADVICE,
        (
            r"根治|包治|药到病除|治愈|无副作用|立竿见影|祖传秘方",
            r"(?:治疗|治好|能治|可治|专治|主治|防治)[^，,]{0,8}(?:病|痛|症|炎|癌|高血压|糖尿病|失眠|湿疹|脱发)",
        ),
    ),
)
_ABSOLUTE: Final[tuple[tuple[str, str], ...]] = (
    # "最新", "最近", "最后", "最多", "最少", "最低消费" and "最晚" state facts, not a rank.
    (r"(?:全[国球市网城]|世界|中国|本[地市]|行业|业[界内])?最(?:便宜|实惠|划算|低价|优惠)", "实惠"),
    (r"(?:全[国球市网城]|世界|中国|本[地市]|行业|业[界内])?最(?:好吃|好喝|美味)", "好吃"),
    (r"(?:全[国球市网城]|世界|中国|本[地市]|行业|业[界内])?最(?:好|佳|优秀|棒|强|牛)", "很好"),
    (r"最正宗", "正宗"),
    (r"最新鲜", "新鲜"),
    (r"最(?:安全|放心|健康)", "放心"),
    (r"最(?:专业|权威|先进|高级|高档|大牌|受欢迎|火爆)", "受欢迎"),
    (r"(?:全[国球市网城]|世界|中国|本[地市]|行业|业[界内]|销量|人气|质量|品质|口碑)(?:第一|领先|首家|唯一)", "受欢迎"),
    (r"no\.?1(?!\d)|top1(?!\d)", "受欢迎"),
    (r"国家级|世界级|宇宙级|殿堂级|顶级|极品|至尊|绝无仅有|独一无二|史无前例|空前绝后", "优质"),
    (r"(?:100|百分之?百|绝对)(?:有效|安全|正宗|新鲜|天然|满意)", "放心"),
    (r"永久有效|万能", ""),
)
_OFFER = re.compile(
    r"满\d+(?:元)?(?:立)?[减送]|[\d一二三四五六七八九]+(?:\.\d)?折|半价|特价|秒杀|买[一二三\d]+送|立减|抢购|限时|优惠价|代金券|优惠券"
)
_IS_LABELLED = re.compile("广告|推广")
_COMPILED: Final = tuple(
    (rule, advice, re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE))
    for rule, advice, patterns in _RULES
)
_COMPILED_ABSOLUTE: Final = tuple((re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in _ABSOLUTE)

_BESIDE_COUPON: Final = (
    ("follow_for_benefit", FOLLOW_ADVICE, re.compile("关注|订阅|加粉|新粉|涨粉|follow|subscribe")),
    ("share_for_benefit", SHARE_ADVICE, re.compile("转发|分享|转给|朋友圈|点赞|集赞|share|forward")),
)

RULES_IN_WORDS: Final = (
    ("follow_for_benefit", Severity.REFUSED, "关注送红包"),
    ("share_for_benefit", Severity.REFUSED, "转发朋友圈，免费领一份"),
    ("invite_for_benefit", Severity.REFUSED, "邀请三位好友返现十元"),
    ("sharing_pressure", Severity.REFUSED, "不转不是本地人"),
    ("cashback", Severity.REFUSED, "消费返利，轻松躺赚"),
    ("phishing", Severity.REFUSED, "请把验证码发给我们"),
    ("cure", Severity.REFUSED, "三天根治失眠"),
    ("link", Severity.REFUSED, "详情见 evil-shop.com"),
    ("absolute", Severity.DOUBTFUL, "全城最便宜的豆浆"),
    ("label", Severity.DOUBTFUL, "图文卡片写了“满30减5”，没有“广告”二字"),
)
"""The rules for people, the gravest first: which, how grave, and what would break it."""

# WeChat makes links of bare domains too, so these count as links.
_TOP_LEVEL = (
    "com|cn|net|org|top|xyz|vip|cc|io|me|info|shop|site|online|club|link|icu|fun|wang|ltd|biz|co|app|dev|tk|ml|ly"
)
_LINK = re.compile(
    r"[a-z][a-z0-9+.-]*:/{2,}[^\s\"'<>，。；！？、（）“”]*"
    r"|(?:javascript|data|tel|sms|weixin|mailto):[^\s\"'<>]*"
    rf"|(?<![a-z0-9_@.-])(?:[a-z0-9-]+\.)+(?:{_TOP_LEVEL})(?![a-z0-9-])(?:[:/?#][^\s\"'<>，。；！？、（）“”]*)?",
    re.IGNORECASE,
)
_NOT_PART_OF_A_LINK = ".,;:!?)"
_HREF = re.compile(r"\bhref\s*=\s*[\"']?([^\"'>\s]*)", re.IGNORECASE)

_BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
_INVISIBLE = frozenset("\u00ad\u180e\u200b\u2060\ufeff") | _BIDIRECTIONAL


def link_hosts(public_url: str) -> frozenset[str]:
    """Where links may lead: our own pages and WeChat's articles."""
    return PLATFORM_HOSTS | {urlsplit(public_url).netloc.lower()}


def is_allowed_link(url: str, hosts: frozenset[str]) -> bool:
    """Whether the address is http or https on one of `hosts`, with nothing that reads differently elsewhere."""
    if any(character.isspace() or character in "\\{}<>\"'" for character in url) or _unprintable(url):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme.lower() in {"http", "https"} and parts.netloc.lower() in hosts


def links_in(text: str) -> list[str]:
    """What a reader's phone makes a link of, in order."""
    return [match[0].rstrip(_NOT_PART_OF_A_LINK) for match in _LINK.finditer(text)]


def replace_links(text: str, replacement: Callable[[str], str]) -> str:
    """The text with every link in it replaced."""

    def replaced(match: re.Match[str]) -> str:
        link = match[0].rstrip(_NOT_PART_OF_A_LINK)
        return replacement(link) + match[0][len(link) :]

    return _LINK.sub(replaced, text)


def lint(
    text: str,
    *,
    hosts: frozenset[str] = PLATFORM_HOSTS,
    longest: int | None = None,
    listed: Iterable[ListedWord] = (),
) -> list[Finding]:
    """Everything in `text` that should not be told to the public; nothing `REFUSED` among it when it may be sent.

    `listed` are the operator's own words, as `merchants.listed_words` reads them.
    """
    findings = []
    if longest is not None and len(text) > longest:
        findings.append(Finding("too_long", text[longest : longest + 10], TOO_LONG_ADVICE))
    if found := _unprintable(text, is_multiline=True):
        findings.append(Finding("unprintable", f"U+{ord(found):04X}", UNPRINTABLE_ADVICE))
    for sentence in _sentences(text):
        for rule, advice, pattern in _COMPILED:
            if (match := pattern.search(sentence)) and rule not in {finding.rule for finding in findings}:
                findings.append(Finding(rule, match[0], advice))
        findings += _absolute_claims(sentence)
    findings += [Finding("link", link[:80], LINK_ADVICE) for link in _foreign_links(text, hosts)]
    findings += _listed(text, listed)
    return findings


def lint_card(title: str, description: str) -> list[Finding]:
    """What a card with a link needs as a whole: one that advertises a price says that it is an advertisement."""
    words = "\n".join(_sentences(f"{title}\n{description}"))
    offer = _OFFER.search(words)
    if offer is None or _IS_LABELLED.search(words):
        return []
    return [Finding("label", offer[0], LABEL_ADVICE, Severity.DOUBTFUL, instead=f"【广告】{title}")]


def lint_beside_coupon(text: str) -> list[Finding]:
    """What words next to a coupon must not say: whoever reads it has it for nothing, and never for following."""
    said = comparable(text)
    return [
        Finding(rule, found[0], advice)
        for rule, advice, pattern in _BESIDE_COUPON
        if (found := pattern.search(said)) is not None
    ]


def comparable(text: str) -> str:
    """Text as the operator's words are looked for in it: one spelling of each letter, nothing put between."""
    return "".join(
        _HIDDEN_BETWEEN.sub("", unicodedata.normalize("NFKC", text).translate(_TRADITIONAL)).split()
    ).casefold()


def _absolute_claims(sentence: str) -> list[Finding]:
    """Each claim once, with a wording that says nearly the same and can be proved."""
    findings: list[Finding] = []
    for pattern, instead in _COMPILED_ABSOLUTE:
        for match in pattern.finditer(sentence):
            if not any(match[0] in found.text for found in findings):
                findings.append(Finding("absolute", match[0], ABSOLUTE_ADVICE, Severity.DOUBTFUL, instead))
    return findings


def _listed(text: str, listed: Iterable[ListedWord]) -> list[Finding]:
    said = comparable(text)
    return [
        Finding("listed", one.word, one.advice or LISTED_ADVICE, one.severity)
        for one in listed
        if one.comparable in said
    ]


def refuse_bad_wording(
    text: str, *, field: str, hosts: frozenset[str] = PLATFORM_HOSTS, listed: Iterable[ListedWord] = ()
) -> None:
    """Raise `Invalid` with the reason of the first finding that is refused; all such are in its `detail`."""
    findings = [one for one in lint(text, hosts=hosts, listed=listed) if one.severity is Severity.REFUSED]
    if findings:
        first = findings[0]
        sentence = Phrase("“%(words)s”不能这样写：%(advice)s（%(rule)s）")
        raise Invalid(
            sentence,
            field=field,
            words=first.text,
            advice=first.advice,
            rule=first.name,
            findings=findings,
        )


def clean(value: str, *, name: Phrase, field: str, longest: int, is_required: bool = False, lines: bool = False) -> str:
    """A short field as it is stored: trimmed, composed, free of invisible characters, at most `longest` long.

    `name` is what the field is called in front of people; `lines` allows line breaks.
    """
    text = unicodedata.normalize("NFC", value).strip()
    if lines:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if is_required and not text:
        raise Invalid("请填写%(name)s。", field=field, name=name)
    if len(text) > longest:
        raise Invalid("%(name)s最多 %(longest)s 个字。", field=field, name=name, longest=longest)
    if _unprintable(text, is_multiline=lines):
        raise Invalid("%(name)s含有看不见的特殊字符，请删掉后重新输入。", field=field, name=name)
    return text


_PHONE: Final = re.compile(r"\+?\d[\d -]{4,18}\d", re.ASCII)


def phone_number(value: str, *, field: str) -> str:
    """A number as people write it, or nothing."""
    phone = clean(value, name=Phrase("电话"), field=field, longest=20)
    if phone and not _PHONE.fullmatch(phone):
        raise Invalid("电话应为 6 到 20 位数字，可以有空格、横线和开头的 +。", field=field)
    return phone


def _unprintable(text: str, *, is_multiline: bool = False) -> str | None:
    """The first character nobody can see or that turns the reading order around."""
    for character in text:
        if character == "\n" and is_multiline:
            continue
        if character in _INVISIBLE or unicodedata.category(character) in {"Cc", "Cs", "Co", "Zl", "Zp"}:
            return character
    return None


def _sentences(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).translate(_TRADITIONAL)
    return [_HIDDEN_BETWEEN.sub("", sentence) for sentence in _SENTENCE_END.split(plain) if sentence]


def _foreign_links(text: str, hosts: frozenset[str]) -> list[str]:
    plain = unicodedata.normalize("NFKC", text)
    links = _HREF.findall(plain) + links_in(plain)
    foreign = [link for link in links if not is_allowed_link(link if "://" in link else f"http://{link}", hosts)]
    return list(dict.fromkeys(foreign))
