"""A merchant writes a broadcast: words, audience and time change in a draft only, then the operator has it.

Runs under the merchant's role; what a step may follow, the database says once more (BC-3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from campaigns import audience
from campaigns.broadcasts import bank, content, reach
from campaigns.broadcasts.content import VARIANTS, Words
from campaigns.broadcasts.models import (
    STEPS,
    Broadcast,
    BroadcastKind,
    BroadcastState,
    BroadcastTemplate,
    BroadcastWords,
    NotReached,
    WordsKind,
)
from campaigns.broadcasts.reach import Forecast
from campaigns.coupons import cards
from campaigns.coupons.cards import Card
from core.errors import BusinessError, Invalid, NotFound, Phrase
from merchants import sensitive_words
from merchants.models import Merchant, Picture
from merchants.wording import Finding, Severity, clean, link_hosts
from qrcodes.fans import TAG_MAX, Filter
from qrcodes.models import SubQrCode

NAME_MAX: Final = 30
SEARCH_MAX: Final = 64
MOST_DAYS: Final = 3_650
MOST_VISITS: Final = 1_000
MOST_POINTS: Final = 10_000_000
MOST_LEVEL: Final = 9
LATEST: Final = timedelta(days=60)
"""How far ahead a broadcast may be planned."""
MOST_DRAFTS: Final = 50
MOST_TEMPLATES: Final = 30
HELD_OUT: Final = (0, 5, 10, 20)
WRITABLE: Final = (BroadcastState.DRAFT, BroadcastState.RETURNED)
NOT_STARTED: Final = (*WRITABLE, BroadcastState.SUBMITTED, BroadcastState.APPROVED, BroadcastState.LATE)


class NotADraft(BusinessError):
    code = "not_a_draft"
    message = "这条群发已经提交，不能再改。要改请先撤回。"


class NotPossibleNow(BusinessError):
    code = "not_possible_now"
    message = "这条群发的状态变了，请刷新页面。"


class BadWording(BusinessError):
    """`detail["findings"]` says what the linter refuses."""

    code = "bad_wording"
    status = 422
    message = "有些话不能这样说，请先改好再提交。"


class NobodyReached(BusinessError):
    code = "nobody_reached"
    status = 422
    message = "这些条件现在一个人也送不到，请换个收件人范围。"


class OnlyOneReached(BusinessError):
    code = "only_one_reached"
    status = 422
    message = "群发至少要两个人，这些条件只剩一个人。请放宽条件，或打开“下次来访时送”。"


@dataclass(frozen=True)
class Draft:
    """Everything its author decides."""

    words: Mapping[str, Words]
    name: str = ""
    kind: BroadcastKind = BroadcastKind.SINGLE
    wanted: Filter = field(default_factory=Filter)
    hello_days: int = 7
    held_out_percent: int = 0
    scheduled_at: datetime | None = None


@dataclass(frozen=True)
class Template:
    """Words to begin with."""

    key: str
    name: str
    words: Words
    is_own: bool


BUILT_IN: Final = {
    "new": Template(
        "new", "上新", Words(WordsKind.TEXT, "{商户}上新了：\n（写上新品和价钱）\n欢迎路过时来看看。"), is_own=False
    ),
    "quiet-days": Template(
        "quiet-days",
        "好久不见",
        Words(WordsKind.TEXT, "您好，{上次来|前些天}来过{商户}，最近还好吗？\n（写上这几天店里有什么）\n等您来坐坐。"),
        is_own=False,
    ),
    "hours": Template(
        "hours",
        "营业时间变动",
        Words(WordsKind.TEXT, "{商户}的营业时间有变：\n（哪几天、几点到几点）\n给您添麻烦了。"),
        is_own=False,
    ),
    "event": Template(
        "event",
        "店里的活动",
        Words(
            WordsKind.ARTICLE,
            "（时间）\n（在哪里）\n（做些什么，怎么参加）\n{商户}等您来。",
            title="{商户}邀您来坐坐",
            summary="（一句话说清楚）",
        ),
        is_own=False,
    ),
}
"""The platform's templates."""


# ---- Drafts ----------------------------------------------------------------------------------------------------------


def create(session: Session, *, merchant_id: int, staff_id: int, words: Words | None = None) -> int:
    """An empty draft, or one that begins with a template's words. Returns its id."""
    mine = select(func.count()).select_from(Broadcast)
    drafts = mine.where(Broadcast.merchant_id == merchant_id, Broadcast.state == BroadcastState.DRAFT)
    if session.execute(drafts).scalar_one() >= MOST_DRAFTS:
        raise Invalid("最多留 %(most)s 份草稿，请先删掉不用的。", most=MOST_DRAFTS)
    most_days = bank.policy(session).hello_days_most
    new = insert(Broadcast).values(
        account_id=select(Merchant.account_id).where(Merchant.id == merchant_id).scalar_subquery(),
        merchant_id=merchant_id,
        hello_days=min(7, most_days),
        written_by=staff_id,
    )
    broadcast_id = session.execute(new.returning(Broadcast.id)).scalar_one()
    _put(session, merchant_id, broadcast_id, {"a": words or Words(WordsKind.TEXT)})
    return broadcast_id


def save(
    session: Session, *, merchant_id: int, broadcast_id: int, draft: Draft, public_url: str, now: datetime
) -> None:
    """Replace everything in a draft. It may still be unfinished or badly worded, but never too long or somebody else's.

    Raises `NotADraft`, `Invalid`, and `NotFound` for a picture or code of another merchant (TN-3).
    """
    broadcast = own(session, merchant_id=merchant_id, broadcast_id=broadcast_id, lock=True)
    if broadcast.state not in WRITABLE:
        raise NotADraft
    shop = content.facts_of_shop(session, merchant_id)
    if not draft.words or set(draft.words) - set(VARIANTS) or "a" not in draft.words:
        raise Invalid("最多比较两种说法。", field="text")
    if len({one.template_id for one in draft.words.values()}) > 1:
        raise Invalid("两种说法要带同一张券。", field="template")
    found = {one.template_id for one in draft.words.values() if one.template_id is not None}
    card = cards.live(session, merchant_id=merchant_id, template_id=found.pop()) if found else None
    words = {
        variant: _checked(one, variant, shop=shop, public_url=public_url, card=card)
        for variant, one in draft.words.items()
    }
    if "b" in words and {one.kind for one in words.values()} != {WordsKind.TEXT}:
        raise Invalid("只有文字能比较两种说法。", field="text_b")
    if draft.kind is BroadcastKind.DIGEST or (
        draft.kind is BroadcastKind.ITEM and words["a"].kind is not WordsKind.ARTICLE
    ):
        raise Invalid("合集里只放图文。", field="kind")
    for one in words.values():
        _refuse_foreign_picture(session, merchant_id, one.picture_id)
    _check_time(draft.scheduled_at, now)
    values = {
        "name": clean(draft.name, name=Phrase("名称"), field="name", longest=NAME_MAX),
        "kind": draft.kind,
        "wanted": audience.as_stored(check_audience(session, merchant_id, draft.wanted)),
        "hello_days": _checked_days(session, draft.hello_days),
        "held_out_percent": _checked_held_out(draft.held_out_percent),
        "scheduled_at": draft.scheduled_at,
    }
    session.execute(update(Broadcast).where(Broadcast.id == broadcast_id).values(values))
    _put(session, merchant_id, broadcast_id, words)
    session.refresh(broadcast)


def _checked(words: Words, variant: str, *, shop: Mapping[str, str], public_url: str, card: Card | None) -> Words:
    try:
        return content.check(words, shop=shop, public_url=public_url, card=card)
    except Invalid as refusal:
        raise _at_variant(refusal, variant) from None


def _at_variant(refusal: Invalid, variant: str) -> Invalid:
    """The second text has a field of its own."""
    if variant != "a" and refusal.field != "template":
        refusal.field = f"{refusal.field}_{variant}"
    return refusal


def _put(session: Session, merchant_id: int, broadcast_id: int, words: Mapping[str, Words]) -> None:
    """New rows, so that nothing of the platform's for the old words stays with the new ones."""
    session.execute(
        delete(BroadcastWords).where(
            BroadcastWords.broadcast_id == broadcast_id, BroadcastWords.merchant_id == merchant_id
        )
    )
    rows = [
        {"merchant_id": merchant_id, "broadcast_id": broadcast_id, "variant": variant, "kind": one.kind,
         "text": one.text, "title": one.title, "summary": one.summary, "picture_id": one.picture_id,
         "template_id": one.template_id}
        for variant, one in words.items()
    ]  # fmt: skip
    session.execute(insert(BroadcastWords), rows)


def _refuse_foreign_picture(session: Session, merchant_id: int, picture_id: int | None) -> None:
    mine = select(Picture.id).where(Picture.id == picture_id, Picture.merchant_id == merchant_id)
    if picture_id is not None and session.scalar(mine) is None:
        raise NotFound("没有这张图片。")


def check_audience(session: Session, merchant_id: int, wanted: Filter) -> Filter:
    """Conditions as they may be asked: `Invalid` for what no page of ours sends, `NotFound` for a foreign code or
    coupon."""
    for name, longest in (("search", SEARCH_MAX), ("tag", TAG_MAX)):
        given = getattr(wanted, name)
        if not isinstance(given, str) or len(given) > longest or not given.isprintable():
            raise Invalid("收件人条件不对，请重新选。", field="audience")
    limits = {
        **dict.fromkeys(("came_within_days", "seen_within_days", "away_for_days", "redeemed_within_days"), MOST_DAYS),
        **dict.fromkeys(("code_id", "holds_template_id"), 2**63 - 1),
        "visits_at_least": MOST_VISITS, "points_at_least": MOST_POINTS, "level_at_least": MOST_LEVEL,
    }  # fmt: skip
    flags = ("following_only", "acquired_only", "holds_coupon", "never_redeemed")
    for name, most in limits.items():
        given = getattr(wanted, name)
        if given is not None and (type(given) is not int or not 0 < given <= most):
            raise Invalid("收件人条件不对，请重新选。", field="audience")
    if any(type(getattr(wanted, name)) is not bool for name in flags):
        raise Invalid("收件人条件不对，请重新选。", field="audience")
    if {one.name for one in fields(Filter)} - {*limits, *flags, "search", "tag"}:
        raise AssertionError("a new condition is not checked yet")
    own_code = select(SubQrCode.id).where(SubQrCode.id == wanted.code_id, SubQrCode.merchant_id == merchant_id)
    if wanted.code_id is not None and session.scalar(own_code) is None:
        raise NotFound("没有这个二维码。")
    if wanted.holds_template_id is not None:
        cards.own(session, merchant_id=merchant_id, template_id=wanted.holds_template_id)
    return wanted


def _check_time(scheduled_at: datetime | None, now: datetime) -> None:
    if scheduled_at is None:
        return
    if scheduled_at <= now:
        raise Invalid("这个时间已经过去了，请选以后的时间。", field="scheduled_at")
    if scheduled_at > now + LATEST:
        raise Invalid("最多提前 %(days)s 天安排。", field="scheduled_at", days=LATEST.days)


def _checked_days(session: Session, days: int) -> int:
    most = bank.policy(session).hello_days_most
    if not 0 <= days <= most:
        raise Invalid("下次来访最多等 %(most)s 天。", field="hello_days", most=most)
    return days


def _checked_held_out(percent: int) -> int:
    if percent not in HELD_OUT:
        raise Invalid("请从列出的选项里选。", field="held_out_percent")
    return percent


# ---- Steps -----------------------------------------------------------------------------------------------------------


def submit(session: Session, *, merchant_id: int, broadcast_id: int, public_url: str, now: datetime) -> list[Finding]:
    """Hand it to the operator; returns what the linter doubts.

    Raises `NotPossibleNow`, `Invalid` for what is missing, `BadWording`, `NobodyReached` or `OnlyOneReached`.
    """
    broadcast = own(session, merchant_id=merchant_id, broadcast_id=broadcast_id, lock=True)
    if broadcast.state not in WRITABLE:
        raise NotPossibleNow
    words = content.written(session, broadcast_id)
    for variant, one in words.items():
        if (refusal := content.missing(one)) is not None:
            raise _at_variant(refusal, variant)
    check_cards(session, merchant_id, words)
    _check_time(broadcast.scheduled_at, now)
    found = doubts(session, merchant_id=merchant_id, broadcast_id=broadcast_id, public_url=public_url)
    if any(one.severity is Severity.REFUSED for one in found):
        raise BadWording(findings=found)
    check_reach(forecast(session, broadcast, now=now), broadcast)
    _step(session, broadcast, BroadcastState.SUBMITTED, submitted_at=now)
    return found


def check_cards(session: Session, merchant_id: int, words: Mapping[str, Words]) -> None:
    """Refuse a card whose coupon is given no more."""
    for one in words.values():
        if one.template_id is not None:
            cards.live(session, merchant_id=merchant_id, template_id=one.template_id)


def check_reach(expected: Forecast, broadcast: Broadcast) -> None:
    """Refuse what would reach nobody, and a hold-out that could tell nothing."""
    if expected.reached == 0:
        raise OnlyOneReached if expected.missed.get(NotReached.ALONE) else NobodyReached
    if broadcast.held_out_percent and not expected.can_hold_out:
        sentence = Phrase("能送到的人不到 %(least)s，留出对照看不出差别，请改成不留。")
        raise Invalid(sentence, field="held_out_percent", least=reach.HOLD_OUT_FROM)


def withdraw(session: Session, *, merchant_id: int, broadcast_id: int) -> None:
    """Back to a draft, as long as nothing has started."""
    broadcast = own(session, merchant_id=merchant_id, broadcast_id=broadcast_id, lock=True)
    _step(session, broadcast, BroadcastState.DRAFT)


def cancel(session: Session, *, merchant_id: int, broadcast_id: int) -> None:
    """Give it up before it has started; one that is being sent is stopped with `control.cancel`."""
    broadcast = own(session, merchant_id=merchant_id, broadcast_id=broadcast_id, lock=True)
    if broadcast.state not in NOT_STARTED:
        raise NotPossibleNow
    _step(session, broadcast, BroadcastState.CANCELLED)


def _step(session: Session, broadcast: Broadcast, state: BroadcastState, **values: Any) -> None:
    if state not in STEPS[BroadcastState(broadcast.state)]:
        raise NotPossibleNow
    session.execute(update(Broadcast).where(Broadcast.id == broadcast.id).values(state=state, **values))
    session.refresh(broadcast)


def copy(session: Session, *, merchant_id: int, broadcast_id: int, staff_id: int) -> int:
    """A new draft with an old one's words and audience. Returns its id."""
    old = own(session, merchant_id=merchant_id, broadcast_id=broadcast_id)
    new_id = create(session, merchant_id=merchant_id, staff_id=staff_id)
    values = {name: getattr(old, name) for name in ("kind", "name", "wanted", "hello_days")}
    session.execute(update(Broadcast).where(Broadcast.id == new_id).values(values))
    _put(session, merchant_id, new_id, content.written(session, broadcast_id))
    return new_id


# ---- Reading ---------------------------------------------------------------------------------------------------------


def own(session: Session, *, merchant_id: int, broadcast_id: int, lock: bool = False) -> Broadcast:
    """One broadcast; another merchant's is missing (TN-3)."""
    mine = select(Broadcast).where(Broadcast.id == broadcast_id, Broadcast.merchant_id == merchant_id)
    found = session.scalar(mine.with_for_update() if lock else mine)
    if found is None:
        raise NotFound("没有这条群发。")
    return found


def page(
    session: Session,
    *,
    merchant_id: int,
    states: Sequence[BroadcastState] = (),
    search: str = "",
    before: int | None = None,
    limit: int = 20,
) -> list[Broadcast]:
    """A merchant's broadcasts, the newest first; drafts that were thrown away are not among them."""
    statement = select(Broadcast).where(
        Broadcast.merchant_id == merchant_id,
        (Broadcast.state != BroadcastState.CANCELLED) | Broadcast.submitted_at.is_not(None),
    )
    if states:
        statement = statement.where(Broadcast.state.in_(states))
    if search:
        said = select(BroadcastWords.broadcast_id).where(
            BroadcastWords.merchant_id == merchant_id,
            BroadcastWords.text.icontains(search, autoescape=True)
            | BroadcastWords.title.icontains(search, autoescape=True),
        )
        statement = statement.where(Broadcast.name.icontains(search, autoescape=True) | Broadcast.id.in_(said))
    if before is not None:
        statement = statement.where(Broadcast.id < before)
    return list(session.scalars(statement.order_by(Broadcast.id.desc()).limit(limit)))


def doubts(session: Session, *, merchant_id: int, broadcast_id: int, public_url: str) -> list[Finding]:
    """What the linter says about all of its words."""
    hosts, listed = link_hosts(public_url), sensitive_words.listed(session)
    shop = content.facts_of_shop(session, merchant_id)
    found: list[Finding] = []
    for written in content.written(session, broadcast_id).values():
        card = content.card_of(session, written, merchant_id)
        for one in (
            content.with_card(said, card, public_url, broadcast_id)
            for said in (written, content.with_facts(written, shop))
        ):
            found += [finding for finding in content.findings(one, hosts=hosts, listed=listed) if finding not in found]
    return found


def forecast(session: Session, broadcast: Broadcast, *, now: datetime) -> Forecast:
    """Whom it would reach if it were sent now."""
    assert broadcast.merchant_id is not None  # noqa: S101
    return reach.forecast(
        session,
        merchant_id=broadcast.merchant_id,
        wanted=audience.as_filter(broadcast.wanted),
        hello_days=broadcast.hello_days,
        held_out_percent=broadcast.held_out_percent,
        seed=broadcast.id,
        now=now,
    )


# ---- Templates -------------------------------------------------------------------------------------------------------


def templates(session: Session, *, merchant_id: int) -> list[Template]:
    """A merchant's own templates, then the platform's."""
    rows = session.scalars(
        select(BroadcastTemplate)
        .where((BroadcastTemplate.merchant_id == merchant_id) | BroadcastTemplate.merchant_id.is_(None))
        .order_by(BroadcastTemplate.merchant_id.is_(None), BroadcastTemplate.id)
    )
    kept = [
        Template(
            str(row.id), row.name, Words(WordsKind(row.kind), row.text, row.title, row.summary),
            is_own=row.merchant_id is not None,
        )
        for row in rows
    ]  # fmt: skip
    return [*kept, *BUILT_IN.values()]


def template(session: Session, *, merchant_id: int, key: str) -> Template:
    """One of them; another merchant's is missing (TN-3)."""
    for one in templates(session, merchant_id=merchant_id):
        if one.key == key:
            return one
    raise NotFound("没有这个模板。")


def keep_template(session: Session, *, merchant_id: int, broadcast_id: int, name: str) -> None:
    """Keep a broadcast's words for the next time; the same name again takes the new words.

    Pictures and coupons are not kept.
    """
    own(session, merchant_id=merchant_id, broadcast_id=broadcast_id)
    words = content.written(session, broadcast_id)["a"]
    cleaned = clean(name, name=Phrase("模板名"), field="name", longest=NAME_MAX, is_required=True)
    mine = BroadcastTemplate.merchant_id == merchant_id
    session.execute(delete(BroadcastTemplate).where(mine, BroadcastTemplate.name == cleaned))
    if session.execute(select(func.count()).select_from(BroadcastTemplate).where(mine)).scalar_one() >= MOST_TEMPLATES:
        raise Invalid("最多 %(most)s 个模板，请先删掉不用的。", field="name", most=MOST_TEMPLATES)
    plain = replace(words, picture_id=None, template_id=None)
    session.execute(
        insert(BroadcastTemplate).values(
            merchant_id=merchant_id, name=cleaned, kind=plain.kind, text=plain.text, title=plain.title,
            summary=plain.summary,
        )
    )  # fmt: skip


def remove_template(session: Session, *, merchant_id: int, template_id: int) -> str:
    """Forget one of one's own templates. Returns its name."""
    mine = delete(BroadcastTemplate).where(
        BroadcastTemplate.id == template_id, BroadcastTemplate.merchant_id == merchant_id
    )
    name = session.execute(mine.returning(BroadcastTemplate.name)).scalar_one_or_none()
    if name is None:
        raise NotFound("没有这个模板。")
    return name
