"""A merchant writes a coupon template: the promise changes in a draft only, then the operator has it, then it is live.

Runs under the merchant's role but for what the operator decides. A trigger says once more that an approved promise
does not change; stock, budget, release, refusal texts, keyword and whether it is public may.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from campaigns.coupons import giving, validity
from campaigns.coupons.models import CouponKind, CouponTemplate, CouponTranche, TemplateState
from campaigns.models import Segment
from core import audit
from core.clock import SHANGHAI, start_of_day
from core.errors import BusinessError, Invalid, NotFound, Phrase
from merchants import reviews, sensitive_words
from merchants.models import Picture
from merchants.reviews import ReviewState
from merchants.wording import Finding, Severity, clean, comparable, lint, refuse_bad_wording
from qrcodes.codes import new_public_id

NAME_MAX: Final = 20
TERMS_MAX: Final = 500
REFUSAL_MAX: Final = 60
KEYWORD_MAX: Final = 12
STOCK_MAX: Final = 1_000_000
WORTH_MAX: Final = 10_000_000
SPEND_MAX: Final = 100_000_000
BUDGET_MAX: Final = 1_000_000_000_000
LASTS_MAX: Final = 730
STARTS_MAX: Final = 365
LATEST: Final = timedelta(days=1_100)
"""How far ahead a fixed end may lie."""
MOST_DATES: Final = 60
MOST_HOURS: Final = 6
MOST_TRANCHES: Final = 20
MOST_DRAFTS: Final = 50
PER_PERSON_MAX: Final = 100
RESERVED_WORDS: Final = frozenset(
    {"优惠券", "优惠", "券", "积分", "签到", "会员卡", "会员", "静音", "取消静音", "帮助"}
)
"""What the account answers itself."""


STEP_ACTIONS: Final = {
    TemplateState.LIVE: "coupon.resume",
    TemplateState.PAUSED: "coupon.pause",
    TemplateState.ENDED: "coupon.end",
}
"""What the audit log calls each step."""


class NotADraft(BusinessError):
    code = "not_a_draft"
    message = "这张券已经提交，不能再改。要改请先撤回，已经发布的请复制一张新的。"


class NotPossibleNow(BusinessError):
    code = "not_possible_now"
    message = "这张券的状态变了，请刷新页面。"


class BadWording(BusinessError):
    """`detail["findings"]` says what the linter refuses."""

    code = "bad_wording"
    status = 422
    message = "有些话不能这样说，请先改好再提交。"


class ChangedMeanwhile(BusinessError):
    code = "changed_meanwhile"
    message = "商户刚才改过这张券，请重新看一遍再决定。"


@dataclass(frozen=True)
class Tranche:
    """So many pieces from then on."""

    opens_at: datetime
    pieces: int


@dataclass(frozen=True)
class Draft:
    """Everything its author decides; satisfies `validity.Terms`, so that a preview needs no row.

    Without `budget_fen` the stock alone is the limit.
    """

    name: str
    kind: str = CouponKind.AMOUNT
    terms: str = ""
    picture_id: int | None = None
    value_fen: int = 0
    percent_off: int | None = None
    uses: int = 1
    min_spend_fen: int = 0
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    starts_after_days: int = 0
    lasts_days: int | None = None
    weekdays: int = validity.EVERY_DAY
    hours: Sequence[Sequence[int]] = ()
    except_dates: Sequence[date] = ()
    per_person: int = 1
    per_day: int | None = None
    first_only: bool = False
    segment_id: int | None = None
    min_level: int = 0
    is_transferable: bool = False
    is_public: bool = True
    for_birthdays: bool = False
    keyword: str = ""
    refusals: Mapping[str, str] = field(default_factory=dict)
    stock: int = 100
    budget_fen: int | None = None
    tranches: Sequence[Tranche] = ()


@dataclass(frozen=True)
class Row:
    """A template in a list, with what became of its coupons."""

    template: CouponTemplate
    live: int
    redeemed: int
    """Uses, standing ones."""
    expired: int
    discount_fen: int


# ---- What people type ------------------------------------------------------------------------------------------------


_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_YUAN = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,2})?", re.ASCII)


def whole_number(typed: str, *, field: str, name: Phrase) -> int:
    """A whole number as somebody typed it; `Invalid` for 1.5, 1e3 or words."""
    if _WHOLE.fullmatch(typed.strip()) is None:
        raise Invalid("%(name)s要填整数。", field=field, name=name)
    return int(typed)


def money(typed: str, *, field: str, name: Phrase) -> int:
    """Yuan as somebody typed them, in fen; never by way of a fraction."""
    if _YUAN.fullmatch(typed.strip()) is None:
        raise Invalid("%(name)s要填金额，最多两位小数，例如 20 或 19.90。", field=field, name=name)
    whole, _, rest = typed.strip().partition(".")
    return int(whole) * 100 + int(rest.ljust(2, "0") or "0")


def day(typed: str, *, field: str, name: Phrase) -> date:
    """A day as a form sends it; `Invalid` for 31 February."""
    try:
        return date.fromisoformat(typed.strip())
    except ValueError:
        raise Invalid("%(name)s没有这一天，请重新选。", field=field, name=name) from None


def moment(typed: str, *, field: str, name: Phrase) -> datetime:
    """A Shanghai time as a form sends it; a day alone is its beginning."""
    try:
        at = datetime.fromisoformat(typed.strip())
    except ValueError:
        raise Invalid("%(name)s没有这个时间，请重新选。", field=field, name=name) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=SHANGHAI)


def end_of(last: date) -> datetime:
    """The end of the last day on which something is valid."""
    return start_of_day(last + timedelta(days=1))


# ---- What may be promised --------------------------------------------------------------------------------------------


def check(draft: Draft, *, now: datetime) -> Draft:
    """The draft as it is stored: cleaned and in range. `Invalid` names the field and says what would do."""
    name = clean(draft.name, name=Phrase("名称"), field="name", longest=NAME_MAX, is_required=True)
    terms = clean(draft.terms, name=Phrase("使用说明"), field="terms", longest=TERMS_MAX, lines=True)
    _check_benefit(draft)
    _check_validity(draft, now)
    _check_limits(draft)
    cleaned = {
        **{one.name: getattr(draft, one.name) for one in fields(Draft)},
        "name": name,
        "terms": terms,
        "hours": tuple(sorted((begins, ends) for begins, ends in draft.hours)),
        "except_dates": tuple(sorted(set(draft.except_dates))),
        "keyword": check_keyword(draft.keyword),
        "refusals": check_refusals(draft.refusals),
        "tranches": check_tranches(draft.tranches, stock=draft.stock),
    }
    return Draft(**cleaned)


def _within(value: object, least: int, most: int, *, field: str, name: Phrase) -> None:
    if type(value) is not int or not least <= value <= most:
        raise Invalid("%(name)s要填 %(least)s 到 %(most)s 的整数。", field=field, name=name, least=least, most=most)


def _money_within(value: object, least: int, most: int, *, field: str, name: Phrase) -> None:
    if type(value) is not int or not least <= value <= most:
        given = {"name": name, "least": validity.yuan(least), "most": validity.yuan(most)}
        raise Invalid("%(name)s要在 %(least)s 到 %(most)s 元之间。", field=field, **given)


def _check_benefit(draft: Draft) -> None:
    if draft.kind not in set(CouponKind):
        raise Invalid("请选一种券。", field="kind")
    value = {
        CouponKind.AMOUNT: Phrase("减免金额"), CouponKind.PERCENT: Phrase("最高减免"),
        CouponKind.VISITS: Phrase("每次的成本"),
    }.get(CouponKind(draft.kind), Phrase("成本"))  # fmt: skip
    least = 1 if draft.kind == CouponKind.AMOUNT else 0
    _money_within(draft.value_fen, least, WORTH_MAX, field="value_fen", name=value)
    _money_within(draft.min_spend_fen, 0, SPEND_MAX, field="min_spend_fen", name=Phrase("最低消费"))
    if draft.kind == CouponKind.PERCENT:
        _within(draft.percent_off, 1, 99, field="percent_off", name=Phrase("减百分之几"))
        if draft.budget_fen is not None and draft.value_fen == 0:
            raise Invalid("打折券要限制总预算，就得填最高减多少元。", field="value_fen")
    elif draft.percent_off is not None:
        raise Invalid("只有打折券才填折扣。", field="percent_off")
    most_uses = 100 if draft.kind == CouponKind.VISITS else 1
    _within(draft.uses, 1, most_uses, field="uses", name=Phrase("可用次数"))
    if draft.kind == CouponKind.AMOUNT and 0 < draft.min_spend_fen < draft.value_fen:
        raise Invalid("最低消费不能比减免的金额还少。", field="min_spend_fen")


def _check_validity(draft: Draft, now: datetime) -> None:
    is_fixed = draft.valid_from is not None or draft.valid_to is not None
    if is_fixed == (draft.lasts_days is not None):
        raise Invalid("请选固定日期，或者领取后几天内有效，二选一。", field="valid_to")
    if is_fixed:
        if draft.valid_from is None or draft.valid_to is None:
            raise Invalid("固定日期要填开始和结束。", field="valid_to")
        if draft.valid_to <= draft.valid_from:
            raise Invalid("结束时间要晚于开始时间。", field="valid_to")
        if draft.valid_to <= now:
            raise Invalid("结束时间已经过去了。", field="valid_to")
        if draft.valid_to > now + LATEST:
            raise Invalid("结束时间太远了，最多三年。", field="valid_to")
        if draft.starts_after_days != 0:
            raise Invalid("固定日期的券不用填几天后生效。", field="starts_after_days")
    else:
        _within(draft.lasts_days, 1, LASTS_MAX, field="lasts_days", name=Phrase("有效天数"))
        _within(draft.starts_after_days, 0, STARTS_MAX, field="starts_after_days", name=Phrase("几天后生效"))
    _within(draft.weekdays, 1, validity.EVERY_DAY, field="weekdays", name=Phrase("可用的星期"))
    _check_hours(draft.hours)
    if len(draft.except_dates) > MOST_DATES:
        raise Invalid("例外日期最多 %(most)s 天。", field="except_dates", most=MOST_DATES)
    if any(type(one) is not date for one in draft.except_dates):
        raise Invalid("例外日期不对，请重新选。", field="except_dates")


def _check_hours(hours: Sequence[Sequence[int]]) -> None:
    if len(hours) > MOST_HOURS:
        raise Invalid("可用时段最多 %(most)s 段。", field="hours", most=MOST_HOURS)
    latest = 0
    for span in sorted(hours, key=tuple):
        if len(span) != 2 or any(type(one) is not int for one in span):
            raise Invalid("可用时段不对，请重新填。", field="hours")
        begins, ends = span
        if not 0 <= begins < ends <= validity.MINUTES_A_DAY:
            raise Invalid("每段时间的结束要晚于开始；跨过零点的请分成两段。", field="hours")
        if begins < latest:
            raise Invalid("可用时段不能重叠。", field="hours")
        latest = ends


def _check_limits(draft: Draft) -> None:
    _within(draft.stock, 1, STOCK_MAX, field="stock", name=Phrase("总数量"))
    _within(draft.per_person, 1, PER_PERSON_MAX, field="per_person", name=Phrase("每人限领"))
    if draft.per_person > draft.stock:
        raise Invalid("每人限领不能超过总数量。", field="per_person")
    check_per_day(draft.per_day, stock=draft.stock)
    _within(draft.min_level, 0, 9, field="min_level", name=Phrase("会员等级"))
    flags = (draft.first_only, draft.is_transferable, draft.is_public, draft.for_birthdays)
    if any(type(one) is not bool for one in flags):
        raise Invalid("请从列出的选项里选。")
    _check_budget(draft.budget_fen, cost=validity.worth(draft) * draft.uses)


def check_per_day(per_day: int | None, *, stock: int) -> None:
    """How many a day to everybody together; never more than there are."""
    if per_day is None:
        return
    _within(per_day, 1, STOCK_MAX, field="per_day", name=Phrase("每天最多发"))
    if per_day > stock:
        raise Invalid("每天最多发的张数不能超过总数量。", field="per_day")


def _check_budget(budget_fen: int | None, *, cost: int) -> None:
    if budget_fen is None:
        return
    _money_within(budget_fen, 0, BUDGET_MAX, field="budget_fen", name=Phrase("总预算"))
    if budget_fen < cost:
        raise Invalid("总预算连一张券都不够。", field="budget_fen")


def check_keyword(keyword: str) -> str:
    """What a fan writes to get one; empty for none."""
    word = clean(keyword, name=Phrase("口令"), field="keyword", longest=KEYWORD_MAX)
    if word and (len(comparable(word)) < 2 or comparable(word) in RESERVED_WORDS):
        raise Invalid("这个口令太短，或者公众号自己要用，请换一个。", field="keyword")
    return word


def check_refusals(refusals: Mapping[str, str]) -> dict[str, str]:
    """The merchant's own words by reason, where it gave some."""
    checked = {}
    for reason, said in refusals.items():
        if reason not in giving.WORDED:
            raise Invalid("没有这种情况。", field="refusals")
        words = clean(said, name=Phrase("领不到时说的话"), field=f"refusal_{reason}", longest=REFUSAL_MAX)
        if words:
            checked[str(reason)] = words
    return checked


def check_tranches(tranches: Sequence[Tranche], *, stock: int) -> tuple[Tranche, ...]:
    """Several releases, the earliest first; together no more than the stock."""
    if not tranches:
        return ()
    if len(tranches) > MOST_TRANCHES:
        raise Invalid("最多分 %(most)s 批。", field="tranches", most=MOST_TRANCHES)
    for one in tranches:
        _within(one.pieces, 1, STOCK_MAX, field="tranches", name=Phrase("每批的张数"))
    if len({one.opens_at for one in tranches}) < len(tranches):
        raise Invalid("两批不能在同一时间开始。", field="tranches")
    if sum(one.pieces for one in tranches) > stock:
        raise Invalid("各批加起来不能超过总数量。", field="tranches")
    return tuple(sorted(tranches, key=lambda one: one.opens_at))


def budget_of(draft: Draft) -> int:
    """The budget in fen: what was given, else what the whole stock can cost."""
    return validity.worth(draft) * draft.uses * draft.stock if draft.budget_fen is None else draft.budget_fen


# ---- Drafts ----------------------------------------------------------------------------------------------------------


def create(session: Session, *, merchant_id: int, staff_id: int, draft: Draft, now: datetime) -> int:
    """A new draft. Returns its id. Raises `Invalid`, and `NotFound` for a foreign picture or group (TN-3)."""
    mine = select(func.count()).select_from(CouponTemplate).where(CouponTemplate.merchant_id == merchant_id)
    drafts = mine.where(CouponTemplate.state == TemplateState.DRAFT, CouponTemplate.review != ReviewState.WITHDRAWN)
    if session.execute(drafts).scalar_one() >= MOST_DRAFTS:
        raise Invalid("最多留 %(most)s 份草稿，请先删掉不用的。", most=MOST_DRAFTS)
    checked = _checked(session, merchant_id, draft, now)
    values = {**_values(checked), "merchant_id": merchant_id, "public_id": new_public_id(), "written_by": staff_id}
    template_id = session.execute(insert(CouponTemplate).values(values).returning(CouponTemplate.id)).scalar_one()
    _put_tranches(session, merchant_id, template_id, checked.tranches)
    return template_id


def save(session: Session, *, merchant_id: int, template_id: int, draft: Draft, now: datetime) -> None:
    """Replace everything in a draft, or in one that was sent back. Raises `NotADraft`, `Invalid`, `NotFound`."""
    template = find(session, merchant_id=merchant_id, template_id=template_id, lock=True)
    if template.state != TemplateState.DRAFT or template.submitted_at is not None:
        raise NotADraft
    checked = _checked(session, merchant_id, draft, now)
    values = {**_values(checked), "review": ReviewState.PENDING}
    session.execute(update(CouponTemplate).where(CouponTemplate.id == template_id).values(values))
    _put_tranches(session, merchant_id, template_id, checked.tranches)
    session.refresh(template)


def _checked(session: Session, merchant_id: int, draft: Draft, now: datetime) -> Draft:
    """What may be stored for this merchant: words that may be said, its own picture and group."""
    checked = check(draft, now=now)
    refuse_words(session, _said(checked))
    picture = select(Picture.id).where(Picture.id == checked.picture_id, Picture.merchant_id == merchant_id)
    if checked.picture_id is not None and session.scalar(picture) is None:
        raise NotFound("没有这张图片。")
    if checked.segment_id is not None:
        mine = select(Segment.wanted).where(Segment.id == checked.segment_id, Segment.merchant_id == merchant_id)
        wanted = session.execute(mine).scalar_one_or_none()
        if wanted is None:
            raise NotFound("没有这个分组。")
        if wanted.get("following_only") or wanted.get("acquired_only"):
            raise Invalid("不能只发给关注了的人，微信禁止用好处换关注。请换一个分组。", field="segment_id")
    return checked


def _said(draft: Draft) -> dict[str, str]:
    """Every word of it that the public may see, by its field."""
    own = {f"refusal_{reason}": words for reason, words in draft.refusals.items()}
    return {"name": draft.name, "terms": draft.terms, "keyword": draft.keyword, **own}


def refuse_words(session: Session, said: Mapping[str, str]) -> None:
    """Refuse what must not be said to the public: following or sharing is never rewarded (RF-8)."""
    listed = sensitive_words.listed(session)
    for name, words in said.items():
        if words:
            refuse_bad_wording(words, field=name, listed=listed)


def _values(draft: Draft) -> dict[str, Any]:
    """The columns of a checked draft."""
    plain = {one.name: getattr(draft, one.name) for one in fields(Draft) if one.name not in {"tranches", "budget_fen"}}
    return {
        **plain,
        "hours": [list(span) for span in draft.hours],
        "except_dates": list(draft.except_dates),
        "refusals": dict(draft.refusals),
        "worth_fen": validity.worth(draft),
        "budget_fen": budget_of(draft),
        "is_in_tranches": bool(draft.tranches),
    }


def _put_tranches(session: Session, merchant_id: int, template_id: int, tranches: Iterable[Tranche]) -> None:
    mine = (CouponTranche.template_id == template_id, CouponTranche.merchant_id == merchant_id)
    session.execute(delete(CouponTranche).where(*mine))
    rows = [
        {"merchant_id": merchant_id, "template_id": template_id, "opens_at": one.opens_at, "pieces": one.pieces}
        for one in tranches
    ]
    if rows:
        session.execute(insert(CouponTranche), rows)


def draft_of(session: Session, template: CouponTemplate) -> Draft:
    """A template read back as its author's fields."""
    plain = {
        one.name: getattr(template, one.name) for one in fields(Draft) if one.name not in {"tranches", "budget_fen"}
    }
    cost = template.worth_fen * template.uses * template.stock
    return Draft(
        **{
            **plain,
            "hours": tuple((begins, ends) for begins, ends in template.hours),
            "except_dates": tuple(template.except_dates),
            "refusals": dict(template.refusals),
            "budget_fen": None if template.budget_fen == cost else template.budget_fen,
            "tranches": tranches_of(session, template.id) if template.is_in_tranches else (),
        }
    )


def tranches_of(session: Session, template_id: int) -> tuple[Tranche, ...]:
    """A template's releases, the earliest first."""
    rows = session.execute(
        select(CouponTranche.opens_at, CouponTranche.pieces)
        .where(CouponTranche.template_id == template_id)
        .order_by(CouponTranche.opens_at)
    )
    return tuple(Tranche(*row) for row in rows)


def copy(session: Session, *, merchant_id: int, template_id: int, staff_id: int, now: datetime) -> int:
    """A new draft with an old one's promise, without its keyword and releases; dates that are over become 30 days.

    Returns its id.
    """
    old = draft_of(session, find(session, merchant_id=merchant_id, template_id=template_id))
    kept = {one.name: getattr(old, one.name) for one in fields(Draft)} | {"keyword": "", "tranches": ()}
    if old.valid_to is not None and old.valid_to <= now:
        kept |= {"valid_from": None, "valid_to": None, "lasts_days": 30}
    if old.segment_id is not None and _segment(session, merchant_id, old.segment_id) is None:
        kept["segment_id"] = None
    return create(session, merchant_id=merchant_id, staff_id=staff_id, draft=Draft(**kept), now=now)


def _segment(session: Session, merchant_id: int, segment_id: int) -> int | None:
    return session.scalar(select(Segment.id).where(Segment.id == segment_id, Segment.merchant_id == merchant_id))


def throw_away(session: Session, *, merchant_id: int, template_id: int) -> None:
    """Give a draft up: it is in no list any more."""
    template = find(session, merchant_id=merchant_id, template_id=template_id, lock=True)
    if template.state != TemplateState.DRAFT:
        raise NotADraft
    _set(session, template, review=ReviewState.WITHDRAWN, submitted_at=None)


# ---- Steps -----------------------------------------------------------------------------------------------------------


def submit(session: Session, *, merchant_id: int, template_id: int, now: datetime) -> list[Finding]:
    """Hand it to the operator; returns what the linter doubts. Raises `NotPossibleNow`, `Invalid`, `BadWording`."""
    template = find(session, merchant_id=merchant_id, template_id=template_id, lock=True)
    if template.state != TemplateState.DRAFT or template.submitted_at is not None:
        raise NotPossibleNow
    check(draft_of(session, template), now=now)
    found = doubts(session, template)
    if any(one.severity is Severity.REFUSED for one in found):
        raise BadWording(findings=found)
    _set(session, template, review=ReviewState.PENDING, submitted_at=now)
    return found


def withdraw(session: Session, *, merchant_id: int, template_id: int) -> None:
    """Back to a draft, while the operator has not decided."""
    template = find(session, merchant_id=merchant_id, template_id=template_id, lock=True)
    if template.state != TemplateState.DRAFT or template.submitted_at is None:
        raise NotPossibleNow
    _set(session, template, submitted_at=None)


def doubts(session: Session, template: CouponTemplate) -> list[Finding]:
    """What the linter says about all of its words."""
    listed = sensitive_words.listed(session)
    said = [template.name, template.terms, template.keyword, *template.refusals.values()]
    found: list[Finding] = []
    for words in filter(None, said):
        found += [one for one in lint(words, listed=listed) if one not in found]
    return found


def count_waiting(session: Session) -> int:
    """How many wait for the operator."""
    return session.execute(
        select(func.count()).select_from(CouponTemplate).where(
            CouponTemplate.review == ReviewState.PENDING, CouponTemplate.submitted_at.is_not(None)
        )
    ).scalar_one()  # fmt: skip


def waiting(session: Session, *, after: int = 0, limit: int = 50) -> list[CouponTemplate]:
    """What merchants have handed in, by id."""
    statement = select(CouponTemplate).where(
        CouponTemplate.review == ReviewState.PENDING, CouponTemplate.submitted_at.is_not(None),
        CouponTemplate.id > after,
    )  # fmt: skip
    return list(session.scalars(statement.order_by(CouponTemplate.id).limit(limit)))


def approve(session: Session, *, template_id: int, operator_id: int, seen: datetime, now: datetime) -> CouponTemplate:
    """Agree to what was handed in at `seen`: from now on it is given. Under the platform's role.

    Raises `NotWaiting` for who comes second, `ChangedMeanwhile`, `Invalid` for what is over by now, `KeywordTaken`.
    """
    template = _handed_in(session, template_id, seen)
    check(draft_of(session, template), now=now)
    with _keyword_kept(), session.begin_nested():
        reviews.decide(
            session, CouponTemplate, template_id, was=ReviewState.PENDING, now_is=ReviewState.APPROVED,
            operator_id=operator_id, now=now,
        )  # fmt: skip
        _set(session, template, state=TemplateState.LIVE)
    _record(session, template, "coupon.approve", actor_kind="operator", actor_id=operator_id)
    return template


def reject(
    session: Session, *, template_id: int, operator_id: int, seen: datetime, reason: str, now: datetime
) -> CouponTemplate:
    """Send it back with a reason; its author may change it and hand it in again. Under the platform's role."""
    template = _handed_in(session, template_id, seen)
    reviews.decide(
        session, CouponTemplate, template_id, was=ReviewState.PENDING, now_is=ReviewState.REJECTED,
        operator_id=operator_id, now=now, reason=reason,
    )  # fmt: skip
    _set(session, template, submitted_at=None)
    _record(session, template, "coupon.reject", actor_kind="operator", actor_id=operator_id)
    return template


def stop(session: Session, *, template_id: int, operator_id: int, reason: str) -> CouponTemplate:
    """The operator ends one that must not be given any more; what was given is honoured. Platform's role."""
    why = clean(reason, name=Phrase("原因"), field="reason", longest=reviews.REASON_MAX, is_required=True, lines=True)
    statement = select(CouponTemplate).where(CouponTemplate.id == template_id).with_for_update()
    template = session.scalar(statement.execution_options(populate_existing=True))
    if template is None:
        raise NotFound("没有这张券。")
    if template.state not in {TemplateState.LIVE, TemplateState.PAUSED}:
        raise NotPossibleNow
    _set(session, template, state=TemplateState.ENDED, review_reason=why)
    _record(session, template, "coupon.stop", actor_kind="operator", actor_id=operator_id)
    return template


def _handed_in(session: Session, template_id: int, seen: datetime) -> CouponTemplate:
    statement = select(CouponTemplate).where(CouponTemplate.id == template_id).with_for_update()
    template = session.scalar(statement.execution_options(populate_existing=True))
    if template is None:
        raise NotFound("没有这张券。")
    if template.review != ReviewState.PENDING or template.submitted_at is None:
        raise reviews.not_waiting(session, template.review, template.reviewed_by)
    if template.submitted_at != seen:
        raise ChangedMeanwhile
    return template


def pause(session: Session, *, merchant_id: int, template_id: int, staff_id: int) -> None:
    """Nothing new is given; what was given is honoured."""
    _step(session, merchant_id, template_id, staff_id, TemplateState.PAUSED, after=(TemplateState.LIVE,))


def resume(session: Session, *, merchant_id: int, template_id: int, staff_id: int) -> None:
    """Given again."""
    _step(session, merchant_id, template_id, staff_id, TemplateState.LIVE, after=(TemplateState.PAUSED,))


def end(session: Session, *, merchant_id: int, template_id: int, staff_id: int) -> None:
    """Never given again; what was given is honoured."""
    after = (TemplateState.LIVE, TemplateState.PAUSED)
    _step(session, merchant_id, template_id, staff_id, TemplateState.ENDED, after=after)


def _step(
    session: Session,
    merchant_id: int,
    template_id: int,
    staff_id: int,
    state: TemplateState,
    *,
    after: Sequence[TemplateState],
) -> None:
    template = find(session, merchant_id=merchant_id, template_id=template_id, lock=True)
    if template.state not in after:
        raise NotPossibleNow
    _set(session, template, state=state)
    _record(session, template, STEP_ACTIONS[state], actor_kind="merchant", actor_id=staff_id)


# ---- What may change in a live one -----------------------------------------------------------------------------------


class KeywordTaken(BusinessError):
    code = "keyword_taken"
    status = 422
    message = "这个口令已经有人用了，请换一个。"


def set_stock(
    session: Session,
    *,
    merchant_id: int,
    template_id: int,
    staff_id: int,
    stock: int,
    budget_fen: int | None = None,
    per_day: int | None = None,
) -> None:
    """Change how many there are, what they may cost, and how many are given a day.

    Never below what has been given (CO-1). Without a budget the stock alone is the limit.
    """
    template = _running(session, merchant_id, template_id)
    _within(stock, 1, STOCK_MAX, field="stock", name=Phrase("总数量"))
    if stock < template.issued:
        raise Invalid("已经发出 %(issued)s 张，总数量不能比它少。", field="stock", issued=template.issued)
    if sum(one.pieces for one in tranches_of(session, template_id)) > stock:
        raise Invalid("各批加起来已经超过这个数量，请先改批次。", field="stock")
    check_per_day(per_day, stock=stock)
    cost = template.worth_fen * template.uses
    if template.kind == CouponKind.PERCENT and budget_fen is not None and cost == 0:
        raise Invalid("没有写最高减多少元的打折券，限制不了总预算。", field="budget_fen")
    _check_budget(budget_fen, cost=cost)
    budget = cost * stock if budget_fen is None else budget_fen
    if budget < template.committed_fen:
        committed = validity.yuan(template.committed_fen)
        raise Invalid("已经发出价值 %(committed)s 元的券，预算不能比它少。", field="budget_fen", committed=committed)
    was = {"stock": template.stock, "budget_fen": template.budget_fen}
    _set(session, template, stock=stock, budget_fen=budget, per_day=per_day)
    now_is = {"stock": stock, "budget_fen": budget}
    detail = {"was": was, "is": now_is}
    _record(session, template, "coupon.stock", actor_kind="merchant", actor_id=staff_id, detail=detail)


def set_tranches(
    session: Session, *, merchant_id: int, template_id: int, tranches: Sequence[Tranche], now: datetime
) -> None:
    """Change the releases that lie ahead; those that have opened stay as they are. None at all gives everything now."""
    template = _running(session, merchant_id, template_id)
    checked = check_tranches(tranches, stock=template.stock)
    opened = {one for one in tranches_of(session, template_id) if one.opens_at <= now}
    if checked and not opened <= set(checked):
        raise Invalid("已经开始的批次不能改。", field="tranches")
    if any(one.opens_at <= now for one in checked if one not in opened) and template.is_in_tranches:
        raise Invalid("新的批次要在以后开始。", field="tranches")
    _put_tranches(session, merchant_id, template_id, checked)
    _set(session, template, is_in_tranches=bool(checked))


def set_manner(
    session: Session,
    *,
    merchant_id: int,
    template_id: int,
    keyword: str,
    is_public: bool,
    refusals: Mapping[str, str],
) -> None:
    """Change how it is come by and what is said where it is not given. Raises `KeywordTaken`, `Invalid`."""
    template = _running(session, merchant_id, template_id)
    word, own = check_keyword(keyword), check_refusals(refusals)
    refuse_words(session, {"keyword": word, **{f"refusal_{reason}": said for reason, said in own.items()}})
    with _keyword_kept(), session.begin_nested():
        _set(session, template, keyword=word, is_public=is_public, refusals=own)


@contextmanager
def _keyword_kept() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if "uq_coupon_template_keyword" not in str(error.orig):
            raise
        raise KeywordTaken from None


def _running(session: Session, merchant_id: int, template_id: int) -> CouponTemplate:
    template = find(session, merchant_id=merchant_id, template_id=template_id, lock=True)
    if template.state not in {TemplateState.LIVE, TemplateState.PAUSED}:
        raise NotPossibleNow
    return template


def _set(session: Session, template: CouponTemplate, **values: Any) -> None:
    session.execute(update(CouponTemplate).where(CouponTemplate.id == template.id).values(values))
    session.refresh(template)


def _record(
    session: Session,
    template: CouponTemplate,
    action: str,
    *,
    actor_kind: str,
    actor_id: int,
    detail: dict[str, Any] | None = None,
) -> None:
    audit.record(
        session, actor_kind=actor_kind, actor_id=actor_id, merchant_id=template.merchant_id, action=action,
        subject=f"coupon_template:{template.id}", detail=detail,
    )  # fmt: skip


# ---- Reading ---------------------------------------------------------------------------------------------------------


def find(session: Session, *, merchant_id: int, template_id: int, lock: bool = False) -> CouponTemplate:
    """One of one's own; another merchant's is missing, and so is a draft that was thrown away (TN-3)."""
    mine = select(CouponTemplate).where(
        CouponTemplate.id == template_id,
        CouponTemplate.merchant_id == merchant_id,
        CouponTemplate.review != ReviewState.WITHDRAWN,
    )
    mine = mine.with_for_update() if lock else mine
    found = session.scalar(mine.execution_options(populate_existing=True))
    if found is None:
        raise NotFound("没有这张券。")
    return found


def by_public_id(session: Session, *, public_id: str) -> CouponTemplate:
    """One that has been published, under its name in addresses."""
    statement = select(CouponTemplate).where(
        CouponTemplate.public_id == public_id, CouponTemplate.state != TemplateState.DRAFT
    )
    found = session.scalar(statement)
    if found is None:
        raise NotFound("没有这张券。")
    return found


def by_keyword(session: Session, *, said: str) -> CouponTemplate | None:
    """The coupon that somebody asks for by its keyword, live or paused; spaces and capitals do not matter."""
    word = comparable(said)
    if not 2 <= len(word) <= KEYWORD_MAX * 2:
        return None
    running = select(CouponTemplate).where(
        CouponTemplate.keyword != "", CouponTemplate.state.in_((TemplateState.LIVE, TemplateState.PAUSED))
    )
    exact = session.scalar(running.where(CouponTemplate.keyword == said.strip()))
    if exact is not None:
        return exact
    return next((one for one in session.scalars(running) if comparable(one.keyword) == word), None)


_COUNTS: Final = text("""
    SELECT t.id,
           (SELECT count(*) FROM coupon c
            WHERE c.template_id = t.id AND c.state IN ('issued', 'reserved')) AS live,
           (SELECT count(*) FROM coupon c WHERE c.template_id = t.id AND c.state = 'expired') AS expired,
           r.redeemed, r.discount_fen
    FROM coupon_template t
    LEFT JOIN LATERAL (
        SELECT count(*) AS redeemed, coalesce(sum(x.discount_fen), 0)::bigint AS discount_fen
        FROM redemption x WHERE x.template_id = t.id AND x.reversed_at IS NULL) r ON true
    WHERE t.id = ANY(:ids)""")


def listed(
    session: Session,
    *,
    merchant_id: int,
    states: Sequence[TemplateState] = (),
    before: int | None = None,
    limit: int = 20,
) -> list[Row]:
    """A merchant's templates, the newest first, with what became of their coupons."""
    statement = select(CouponTemplate).where(
        CouponTemplate.merchant_id == merchant_id, CouponTemplate.review != ReviewState.WITHDRAWN
    )
    if states:
        statement = statement.where(CouponTemplate.state.in_(states))
    if before is not None:
        statement = statement.where(CouponTemplate.id < before)
    rows = list(session.scalars(statement.order_by(CouponTemplate.id.desc()).limit(limit)))
    counted = {row.id: row for row in session.execute(_COUNTS, {"ids": [row.id for row in rows]})}
    return [
        Row(row, counted[row.id].live, counted[row.id].redeemed, counted[row.id].expired, counted[row.id].discount_fen)
        for row in rows
    ]
