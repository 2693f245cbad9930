"""Who answers a message, decided before anything is written: one answer to each, in one order.

What is somebody's own comes first (staff codes, own words, wishes, coupons and points, look-ups), then the question
that was put last, then whom the message names, then a coupon's keyword, the rules of the merchant one talks to and of
the platform, then the merchant's people. Whoever talks to nobody is asked once, or gets one line that helps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from bot import context, lookups, own_words
from bot.book import EMPTY, Book
from bot.context import Asks, By, Choice, Context, Question, Shops
from bot.lookups import Lookup, Wanted
from bot.menus.buttons import merchant_of
from bot.rules import matching
from bot.rules.matching import Rule
from bot.talks import desk as desks
from bot.talks import enquiries, intake
from bot.talks.intake import TalkSeen
from campaigns.broadcasts.mute import Shop
from campaigns.broadcasts.spelling import plain

TOLD_LATELY: Final = intake.LINE_EVERY
OVERTAKEN_WITHIN: Final = timedelta(minutes=1)
"""What was said so shortly before is meant for whoever is chosen by then; of what is older nobody can tell."""
UNREADABLE: Final = "收到不支持的消息类型"
"""What the platform puts into a text for what it cannot deliver: stickers, cards, files."""
PICTURES: Final = {
    "image": "图片", "voice": "语音", "video": "视频", "shortvideo": "视频", "link": "链接", "location": "位置",
}  # fmt: skip


class Answered(StrEnum):
    """Who had the answer to an event."""

    STAFF = "staff"
    WORD = "word"
    WISH = "wish"
    BENEFIT = "benefit"
    LOOKUP = "lookup"
    CHOICE = "choice"
    """The answer to the question which shop is meant."""
    SWITCH = "switch"
    KEYWORD = "keyword"
    RULE = "rule"
    TALK = "talk"
    """The merchant's people: it is in their inbox."""
    ASKED = "asked"
    """Nobody yet: the writer was asked which shop is meant."""
    RATING = "rating"
    LINE = "line"
    """Nobody: one line that helps."""
    WELCOME = "welcome"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody sent: words, or something else of that kind; `menu_key` where they tapped the menu."""

    inbox_id: int
    kind: str
    at: datetime
    text: str = ""
    menu_key: str = ""
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when it comes in."""

    book: Book = EMPTY
    account_name: str = ""
    context: Context | None = None
    known: Sequence[Shop] = ()
    """Whose fan the writer is, by first touch."""
    question: Question | None = None
    talks: Mapping[int, TalkSeen] = field(default_factory=dict)
    """The writer's talks of the last days, by merchant."""
    late_by: timedelta = timedelta(0)
    """How long before the newest that is known of the writer it was said; below zero for what is newer."""

    @property
    def is_stale(self) -> bool:
        """Whether it came late: it is taken in, and not answered any more (EV-6)."""
        return self.late_by > timedelta(0)

    @property
    def shops(self) -> Shops:
        return self.book.shops

    @property
    def merchant_id(self) -> int | None:
        """The active shop one talks to."""
        return self.context.merchant_id if self.context and self.shops.has(self.context.merchant_id) else None

    @property
    def has_left(self) -> bool:
        """Whether they said that they talk to no shop."""
        return self.context is not None and self.context.merchant_id is None


@dataclass(slots=True)
class Answer:
    """What is done about one event, and what is said."""

    by: Answered = Answered.NONE
    merchant_id: int | None = None
    """Whose conversation it is, after whatever the message says about that."""
    words: str = ""
    choice: Choice | None = None
    question: Question | None = None
    """What is asked from now on, or asked still, with what waits for it."""
    is_settled: bool = False
    """The question that was open is answered."""
    passes: tuple[int, ...] = ()
    """Messages that waited, by inbox id, and go to the merchant now."""
    lookup: Wanted | None = None
    rating: int | None = None
    enquiry_id: int | None = None
    is_for_people: bool = False
    """It goes into the merchant's inbox."""
    waits: bool = False
    """Somebody there has to answer it."""
    rule: Rule | None = None
    is_transferred: bool = False
    """The platform's own human service takes it from here."""


@dataclass(slots=True)
class Turn:
    """One message and what is known, while it is decided who answers."""

    said: Said
    now: Situation
    answer: Answer = field(init=False)
    _near: list[Shop | None] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.answer = Answer(merchant_id=self.now.merchant_id)

    @property
    def near(self) -> Shop | None:
        """The shop whose name is nearly what was said; all names are compared at most once."""
        if not self._near:
            self._near.append(self.now.shops.nearest(plain(self.said.text)))
        return self._near[0]

    # Each of these says whether it had the answer.

    def by_help(self) -> bool:
        """The words that explain what one can write; in a conversation with a shop, only those that cannot be meant
        for it."""
        alone = () if self.answer.merchant_id else own_words.HELP_ALONE
        if not own_words.is_among(self.said.text, (*own_words.HELP, *alone)):
            return False
        return self._say(Answered.WORD, help_words(self.now))

    def by_lookup(self) -> bool:
        is_with_shop = self.answer.merchant_id is not None
        wanted = lookups.wanted_in(self.said.text, shops=self.now.shops, is_with_shop=is_with_shop)
        if wanted is None:
            return False
        self.answer.lookup = wanted
        return self._say(Answered.LOOKUP)

    def by_question(self) -> bool:
        """A number, or a name, that answers what was asked last."""
        question = self.now.question
        if question is None or not question.is_open(self.said.at) or question.is_silent:
            return False
        if question.kind is Asks.SATISFACTION:
            rating = enquiries.rating_in(self.said.text)
            if rating is None:
                return False
            self.answer.rating, self.answer.enquiry_id = rating, question.enquiry_id
            self.answer.is_settled = True
            return self._say(Answered.RATING, enquiries.THANKS)
        reply = context.reply_to(question, self.said.text, at=self.said.at, shops=self.now.shops)
        if reply is None:
            return False
        if reply.shop is None:
            return self._say(Answered.ASKED, context.no_such_number(question))
        self._choose(Choice(reply.shop.merchant_id, reply.by))
        if not reply.is_only_that:
            self._pass_on()
        return self._say(Answered.CHOICE, self._talking_to(reply.shop))

    def by_name(self) -> bool:
        """Whom the message says one talks to."""
        meant = context.meant_by(self.said.text, known=self.now.known, shops=self.now.shops)
        if meant is None:
            return False
        if meant.is_platform:
            self._choose(Choice(None, By.NAME))
            return self._say(Answered.SWITCH, context.with_platform(self.now.account_name))
        if len(meant.shops) == 1 and not meant.is_short:
            return self._turn_to(meant.shops[0], By.NAME, says_more=meant.says_more)
        if meant.is_short and self.answer.merchant_id is not None and not context.is_apart(self.said.text):
            # To a shop, "找钱" is a sentence and not the name of another.
            return False
        options = context.may_be_meant(self.now.known, self.now.shops) if meant.is_open else meant.shops
        return self._ask(options) if options else self._name_nobody(meant)

    def by_menu(self) -> bool:
        """The shop that the tapped menu entry stands for."""
        shop = menu_choice(self.said.menu_key, self.now.shops)
        return shop is not None and self._turn_to(shop, By.MENU)

    def _turn_to(self, shop: Shop, by: By, *, says_more: bool = False) -> bool:
        self._choose(Choice(shop.merchant_id, by))
        if says_more:
            self._pass_on()
        return self._say(Answered.SWITCH, self._talking_to(shop))

    def _talking_to(self, shop: Shop) -> str:
        words = desks.passed_on(self.now.book.desk(shop.merchant_id), context.shown(shop.name), self.said.at)
        return context.talking_to(words, passed=len(self.answer.passes) + self.answer.is_for_people)

    def _name_nobody(self, meant: context.Meant) -> bool:
        if meant.is_open:
            return self._say(Answered.SWITCH, context.NO_SHOPS)
        near = self.now.shops.nearest(meant.unknown)
        if near is not None:
            return self._say(Answered.LINE, is_it(near))
        # To a shop, "找零钱了吗" is a sentence and not the name of another.
        if self.answer.merchant_id is not None:
            return False
        return self._say(Answered.SWITCH, context.no_such_name(meant.unknown))

    def by_people(self) -> bool:
        """The merchant one talks to; of somebody who talks to nobody, the only shop it can be."""
        if self.answer.merchant_id is None and not self.now.has_left and not self.is_asked:
            likely = context.may_be_meant(self.now.known, self.now.shops)
            if len(likely) == 1 and not is_small_talk(self.said) and not self._is_nearly_something:
                self._choose(Choice(likely[0].merchant_id, By.ONLY))
        if self.answer.merchant_id is None:
            return False
        self._pass_on()
        return self._say(Answered.TALK, self._line())

    def by_rule(self) -> bool:
        """The rules of the merchant one talks to, then those of the platform."""
        return self.by_rule_of(self.answer.merchant_id) or self.by_rule_of(None)

    def by_rule_of(self, merchant_id: int | None) -> bool:
        asked = matching.Question(self.said.kind, self.said.text, self.said.menu_key, self.said.at)
        rule = matching.winner(self.now.book.rules.get(merchant_id, ()), asked)
        if rule is None:
            return False
        self.answer.rule = rule
        self.answer.is_for_people = rule.merchant_id is not None
        self.answer.waits = self.answer.is_for_people and rule.hands_over
        is_silent = self.answer.waits and not rule.answers
        return self._say(Answered.RULE, self._line() if is_silent else "")

    def by_place(self) -> bool:
        """A place that was sent: to the merchant one talks to it says where one is, and how far that is from there;
        alone it asks for the shops near it."""
        if self.said.kind != "location":
            return False
        if self.answer.merchant_id is None:
            self.answer.lookup = Wanted(Lookup.SHOPS, "", self.said.latitude, self.said.longitude)
            return self._say(Answered.LOOKUP)
        self.by_people()
        if not self.answer.is_transferred:
            self.answer.lookup = Wanted(
                Lookup.WAY, self.answer.words, self.said.latitude, self.said.longitude, self.answer.merchant_id
            )
        return True

    def _line(self) -> str:
        """What the chat says to a message that goes to the merchant's people, if it is time to say it; where the
        merchant wants that, the platform's human service says everything from here."""
        merchant_id = self.answer.merchant_id
        assert merchant_id is not None  # noqa: S101
        desk = self.now.book.desk(merchant_id)
        if desk.hands_over:
            self._transfer()
            return ""
        chosen_at = self.now.context and self.now.context.chosen_at
        if chosen_at and self.answer.choice is None and self.said.at - chosen_at < TOLD_LATELY:
            # They were told so when they chose.
            return ""
        name = context.shown(self.now.shops.names[merchant_id])
        return intake.line_for(self.now.talks.get(merchant_id), desk, name, self.said.at) or ""

    def by_asking(self) -> bool:
        """Which shop it is for: asked once, and not again while the question is open."""
        likely = context.may_be_meant(self.now.known, self.now.shops)
        is_for_a_shop = (
            self.said.kind == "text"
            and not self.said.menu_key
            and not is_small_talk(self.said)
            and not is_unreadable(self.said)
        )
        if not is_for_a_shop or self.now.has_left or self._is_nearly_something:
            return False
        question = self.now.question
        # What was said before the question and comes in after it waits for the same answer.
        if question is not None and question.is_put and self.said.at < question.expires_at:
            self.answer.question = question.keeping(self.said.inbox_id)
            return False
        return len(likely) > 1 and self._ask(likely, keeps=True)

    def by_line(self) -> bool:
        return self._say(Answered.LINE, line(self))

    def by_desk(self) -> bool:
        """Somebody wants a person: the merchant's, or else the platform's."""
        if not own_words.is_among(self.said.text, own_words.HUMAN):
            return False
        if self.answer.merchant_id is None:
            return self._say(Answered.WORD, human_words(self.now))
        self._pass_on()
        desk = self.now.book.desk(self.answer.merchant_id)
        if desk.hands_over:
            self._transfer()
            return self._say(Answered.TALK)
        name = context.shown(self.now.shops.names[self.answer.merchant_id])
        return self._say(
            Answered.TALK, f"已经转给 {name} 的人。{desks.presence(desk, self.said.at)}\n要补充什么，直接发在这里。"
        )

    @property
    def _is_nearly_something(self) -> bool:
        """Whether it is a known word or a shop's name but for a slip: then that is asked first."""
        words = self.said.text
        return bool(words) and (own_words.nearest(words) is not None or self.near is not None)

    def _transfer(self) -> None:
        """The platform's clerks answer; nobody of the shop's is waited for."""
        self.answer.is_transferred, self.answer.waits = True, False

    @property
    def is_asked(self) -> bool:
        question = self.now.question
        return question is not None and question.is_put and question.is_open(self.said.at)

    @property
    def _waiting(self) -> tuple[int, ...]:
        """The messages that wait until it is clear for which shop they are; it may have been said before them."""
        question = self.now.question
        return question.inbox_ids if question is not None and question.may_pass(self.said.at) else ()

    def _choose(self, choice: Choice) -> None:
        self.answer.choice, self.answer.merchant_id = choice, choice.merchant_id
        self.answer.is_settled = self.is_asked
        if choice.merchant_id is not None and (waiting := self._waiting):
            self.answer.passes, self.answer.is_settled = waiting, True

    def _ask(self, options: Sequence[Shop], *, keeps: bool = False) -> bool:
        asked = Question.which(options, at=self.said.at, inbox_ids=self._waiting)
        self.answer.question = asked.keeping(self.said.inbox_id) if keeps else asked
        kept = bool(self.answer.question.inbox_ids)
        return self._say(Answered.ASKED, context.which_one(options, keeps=kept))

    def _pass_on(self) -> None:
        self.answer.is_for_people = self.answer.waits = True
        question = self.now.question
        if question is None or question.asked_at > self.said.at:
            return
        # Who goes on talking answers no question about how it was; what waited for a scan goes with this.
        if question.kind is Asks.SATISFACTION:
            self.answer.is_settled = not is_small_talk(self.said)
        elif question.is_overtaken:
            self.answer.passes, self.answer.is_settled = question.inbox_ids, True
        elif self.answer.choice is None and self._waiting:
            # It became known late that one talked to this shop; who asked for another may still name it.
            self.answer.passes, self.answer.question = self._waiting, replace(question, inbox_ids=())

    def _say(self, by: Answered, words: str = "") -> bool:
        self.answer.by, self.answer.words = by, words
        return True


# ---- The one line ----------------------------------------------------------------------------------------------------

_THANKS: Final = frozenset(("谢谢", "谢谢你", "谢谢您", "谢了", "多谢", "感谢", "好的谢谢", "thanks", "thankyou", "3q"))
_SMALL_TALK: Final = _THANKS | {
    "好", "好的", "好吧", "好滴", "嗯", "嗯嗯", "哦", "哦哦", "ok", "收到", "知道了", "再见", "拜拜", "哈哈", "哈哈哈",
    "早", "早上好", "晚安",
}  # fmt: skip


_GREETINGS: Final = frozenset((
    "你好", "您好", "你好啊", "你好呀", "大家好", "hi", "hello", "嗨", "哈喽", "哈罗", "在", "在吗", "在不在", "有人吗",
    "有人在吗",
))  # fmt: skip
"""How talking begins; a shop hears it, alone it asks nothing."""


def asks_nothing(text: str) -> bool:
    """Whether there is no question in it that anybody could have answered."""
    return plain(text) in _SMALL_TALK | _GREETINGS


def is_small_talk(said: Said) -> bool:
    """Whether it asks nothing of anybody: thanks, a yes, a picture of a face."""
    return said.kind == "text" and plain(said.text) in {"", *_SMALL_TALK} and not is_unreadable(said)


def is_unreadable(said: Said) -> bool:
    return said.kind == "text" and UNREADABLE in said.text


def line(turn: Turn) -> str:
    """One line that suits what nobody could answer."""
    said, now = turn.said, turn.now
    if said.kind != "text" or is_unreadable(said):
        what = PICTURES.get(said.kind, "这种消息")
        return f"{what}我们这里看不了，请打字告诉我们。要发给某家店，请先回复：找 店名"
    if is_small_talk(said):
        return _FRIENDLY if plain(said.text) in _THANKS else f"您好，这里是{_name(now)}。能问什么请回复：帮助"
    if (word := own_words.nearest(said.text)) is not None:
        return f"您是想问“{word}”吗？是的话，请回复：{word}"
    if turn.near is not None:
        return is_it(turn.near)
    return _lost(now, is_asked=turn.is_asked)


def is_it(shop: Shop) -> str:
    """Whether it is this shop that is meant, whose name was nearly written."""
    name = context.shown(shop.name)
    return f"您是想找 {name} 吗？是的话，请回复：找 {name}"


_FRIENDLY: Final = "不客气！需要什么，随时发消息；能问什么请回复：帮助"


def _lost(now: Situation, *, is_asked: bool) -> str:
    if is_asked:
        return "要发给哪家店，请回复上面列表里的数字，或者回复：找 店名。问别的请回复：帮助"
    if now.known:
        return f"您好，这里是{_name(now)}。要问店家，请先回复：找 店名；能问什么请回复：帮助"
    return f"您好，这里是{_name(now)}。这句话没看懂。能问什么请回复：帮助；扫店里的二维码，就能和那家店聊"


def _name(now: Situation) -> str:
    return context.shown(now.account_name) or "本号"


def help_words(now: Situation) -> str:
    """What one can write, in one screen."""
    return "\n".join((
        f"在{_name(now)}，您可以直接发：",
        "优惠券 · 积分 · 签到 · 会员卡",
        "商家（附近的店，发个位置更准）",
        "电话 锁匠（便民电话）",
        "公告（小区通知）",
        "找 店名（和那家店聊）· 退出",
        "退订 店名（不收它的优惠消息）",
        "人工 · 我的数据 · 删除我的数据",
    ))  # fmt: skip


def human_words(now: Situation) -> str:
    """What the platform's own desk says where it has no rule for it."""
    likely = context.may_be_meant(now.known, now.shops)
    example = context.shown(likely[0].name) if likely else "店名"
    return f"您想找哪家店的人？请回复：找 {example}，再把话发给店家。\n小区里的事找谁，请回复：电话，里面有便民电话。"


# ---- Putting it together ---------------------------------------------------------------------------------------------


def menu_choice(menu_key: str, shops: Shops) -> Shop | None:
    """The shop that a menu entry stands for."""
    merchant_id = merchant_of(menu_key)
    return None if merchant_id is None or not shops.has(merchant_id) else shops.shop(merchant_id)


def decide(said: Said, now: Situation, *, claimed: Answered | None = None, has_keyword: bool = False) -> Answer:
    """Who answers. `claimed` is who has answered already; `has_keyword` says that it is the keyword of a coupon."""
    turn = Turn(said, now)
    if claimed is not None:
        turn.answer.by = claimed
    elif said.kind == "text":
        _decide_on_words(turn, has_keyword=has_keyword)
    elif said.kind == "click":
        _ = turn.by_menu() or turn.by_rule()
    else:
        _ = turn.by_rule() or turn.by_place() or turn.by_people() or turn.by_line()
    return _late(turn.answer, now.late_by) if now.is_stale else turn.answer


def _decide_on_words(turn: Turn, *, has_keyword: bool) -> None:
    if turn.by_help() or turn.by_lookup() or turn.by_question() or turn.by_name():
        return
    if has_keyword:
        turn.answer.by = Answered.KEYWORD
        return
    merchant_id = turn.answer.merchant_id
    # Who wants a person of a shop's gets one, unless the shop has another answer; the platform's own come after that.
    if merchant_id is not None and (turn.by_rule_of(merchant_id) or turn.by_desk()):
        return
    _ = turn.by_rule_of(None) or turn.by_desk() or turn.by_people() or turn.by_asking() or turn.by_line()


def is_reserved(text: str, *, is_with_shop: bool) -> bool:
    """Whether the account answers a text itself, in a conversation with a shop or in nobody's: no rule hears of it."""
    alone = () if is_with_shop else own_words.HELP_ALONE
    return (
        own_words.is_one(text)
        or own_words.is_among(text, (*own_words.HELP, *alone))
        or lookups.wanted_in(text, shops=NO_SHOPS, is_with_shop=is_with_shop) is not None
        or _is_about_whom(text, is_with_shop=is_with_shop)
    )


def _is_about_whom(text: str, *, is_with_shop: bool) -> bool:
    if is_with_shop:
        return plain(text) in context.TO_PLATFORM | context.TO_CHOOSE
    return context.meant_by(text, known=(), shops=NO_SHOPS) is not None


NO_SHOPS: Final = Shops()
"""Names of shops are not looked at: they come and go."""


def _late(answer: Answer, by: timedelta) -> Answer:
    """What is left of an answer that comes too late to be given: nothing is asked, looked up or said any more. Whom
    one talks to, and what somebody at the merchant has to read, counts by its own moment; what would have been asked
    about a moment ago waits unasked."""
    # Whom the platform's clerks do not get any more somebody of the shop's has to answer.
    waits = answer.waits or answer.is_transferred
    gone = replace(answer, words="", lookup=None, is_transferred=False, waits=waits)
    if answer.by is Answered.RULE:
        return replace(gone, by=Answered.NONE, rule=None, waits=answer.is_for_people)
    if answer.by in (Answered.ASKED, Answered.LINE, Answered.LOOKUP, Answered.WORD):
        # A question that is open already goes on being open.
        question = answer.question
        if answer.by is Answered.ASKED and question is not None:
            question = question.unasked() if question.inbox_ids and by <= OVERTAKEN_WITHIN else None
        return replace(gone, by=Answered.NONE, question=question)
    return gone
