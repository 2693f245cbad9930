"""Coupons come to people: the one grant call, and how they end by time, by the merchant or by passing on.

A grant is decided by statements, never by what was read before: the coupon's own keys (CO-2 and the cause), the
count of its day, and the conditional update of the template (CO-1), which comes last so that the row everybody wants
is held for a moment only. Everything works for a person's own transaction (`Role.FAN`), the issuer's
(`Role.MERCHANT`) and the platform's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from campaigns.audience import as_filter
from campaigns.coupons import validity
from campaigns.coupons.models import Channel, CouponTemplate, TemplateState
from campaigns.models import Segment
from core.clock import business_day
from core.database import rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from qrcodes import fans
from qrcodes.codes import new_public_id

CAUSE_MAX: Final = 100
TRIES: Final = 110
"""How often a claim that lost against the same person's parallel claims looks again: more than anybody's limit."""
AT_ONCE: Final = 2_000
GIFT_LASTS: Final = timedelta(days=3)


class Refusal(StrEnum):
    """Why somebody is not given a coupon. The merchant may put its own words to each but `IDENTITY`."""

    NOT_LIVE = "not_live"
    OVER = "over"
    SOLD_OUT = "sold_out"
    LATER = "later"
    TODAY_FULL = "today_full"
    LIMIT = "limit"
    FIRST_ONLY = "first_only"
    SEGMENT = "segment"
    LEVEL = "level"
    IDENTITY = "identity"


REFUSAL_WORDS: Final = {
    Refusal.NOT_LIVE: Phrase("这张券现在不发放。"),
    Refusal.OVER: Phrase("这个活动已经结束了。"),
    Refusal.SOLD_OUT: Phrase("这张券已经领完了。"),
    Refusal.LATER: Phrase("这一批已经领完，下一批还没到时间。"),
    Refusal.TODAY_FULL: Phrase("今天的已经领完，请明天再来。"),
    Refusal.LIMIT: Phrase("您领的张数已经到上限了。"),
    Refusal.FIRST_ONLY: Phrase("这张券只给第一次在本店用券的顾客。"),
    Refusal.SEGMENT: Phrase("这张券只给部分顾客，您暂时不在其中。"),
    Refusal.LEVEL: Phrase("您的会员等级还不够领这张券。"),
    Refusal.IDENTITY: Phrase("现在不能给您发券，请联系街区服务台。"),
}
WORDED: Final = tuple(one for one in Refusal if one is not Refusal.IDENTITY)
"""The reasons for which a merchant may have words of its own."""


class NotGiven(BusinessError):
    """No coupon, with its reason; the words are the merchant's where it has some."""

    code = "not_given"

    def __init__(self, reason: Refusal, words: Mapping[str, str] | None = None) -> None:
        own = (words or {}).get(reason, "") if reason in WORDED else ""
        super().__init__(own or REFUSAL_WORDS[reason])
        self.reason = reason
        self.code = f"not_given_{reason}"


class Busy(BusinessError):
    code = "busy"
    message = "现在领的人太多，请再点一次。"


class NoGift(BusinessError):
    """The link leads to nothing any more: taken, cancelled, used or too late look the same."""

    code = "no_gift"
    message = "这张券已经被领走、收回或过期了。"


class OwnGift(BusinessError):
    code = "own_gift"
    message = "这是您自己转出的券，请让邻居打开。"


class NotPassable(BusinessError):
    code = "not_passable"
    message = "这张券不能转给别人。"


class NotRevocable(BusinessError):
    code = "not_revocable"
    message = "这张券已经用掉、过期或收回了。"


@dataclass(frozen=True)
class Given:
    """A coupon that somebody holds because of a cause; `is_new` False where that cause had given it before."""

    coupon_id: int
    public_id: str
    template_id: int
    merchant_id: int
    follower_id: int
    seq: int | None
    is_new: bool
    valid_from: datetime
    valid_to: datetime


@dataclass(frozen=True)
class Claimable:
    """A template as one person sees it: they may take one now, or not for that reason, in those words."""

    template: CouponTemplate
    refusal: Refusal | None
    words: str
    had: int
    """How many of it they were given so far."""
    left: int
    """How many may be given now, to everybody together."""
    next_at: datetime | None
    """When the next tranche opens."""


# ---- What is known about a person and a template ---------------------------------------------------------------------

_RELEASED: Final = """
    least(t.stock, CASE WHEN t.is_in_tranches THEN (
        SELECT coalesce(sum(r.pieces), 0) FROM coupon_tranche r
        WHERE r.template_id = t.id AND r.opens_at <= :now) ELSE t.stock END)"""
_STANDING: Final = f"""
    SELECT t.id, {_RELEASED} AS released,
           (SELECT min(r.opens_at) FROM coupon_tranche r
            WHERE t.is_in_tranches AND r.template_id = t.id AND r.opens_at > :now) AS next_at,
           coalesce((SELECT d.given FROM coupon_template_day d
                     WHERE d.template_id = t.id AND d.day = :day), 0) AS given_today,
           coalesce((SELECT max(c.seq) FROM coupon c
                     WHERE c.template_id = t.id AND c.follower_id = :follower), 0) AS had,
           EXISTS (SELECT 1 FROM merchant m WHERE m.id = t.merchant_id AND m.state = 'active') AS is_open,
           t.first_only AND EXISTS (
               SELECT 1 FROM redemption x WHERE x.merchant_id = t.merchant_id AND x.follower_id = :follower
                 AND x.reversed_at IS NULL) AS has_redeemed
    FROM coupon_template t"""
_ONE: Final = text(f"{_STANDING} WHERE t.id = :template")
_PUBLIC: Final = text(f"""
    {_STANDING} WHERE t.merchant_id = :merchant AND t.state = 'live' AND t.is_public ORDER BY t.id DESC""")
_PERSON: Final = text("""
    SELECT f.status, f.erased_at IS NOT NULL AS is_erased,
           EXISTS (SELECT 1 FROM benefit_block b WHERE b.follower_id = f.id) AS is_blocked
    FROM follower f WHERE f.id = :follower""")
_BY_CAUSE: Final = text("""
    SELECT id, public_id, template_id, merchant_id, follower_id, seq, valid_from, valid_to
    FROM coupon WHERE template_id = :template AND follower_id = :follower AND cause = :cause""")


def may_have_benefits(session: Session, *, follower_id: int) -> bool:
    """Whether a person may be given anything: known, neither erased, ambiguous nor blocked (CO-9). Nobody is asked
    whether they follow."""
    person = session.execute(_PERSON, {"follower": follower_id}).one_or_none()
    return person is not None and not (person.is_erased or person.is_blocked or person.status == "ambiguous")


def _why_not(
    session: Session, template: CouponTemplate, standing: Row[Any], *, follower_id: int, channel: Channel, now: datetime
) -> Refusal | None:
    """The first reason against one more, by what can be read now."""
    is_given = template.state == TemplateState.LIVE and standing.is_open
    more_to_come = standing.next_at is not None and template.issued < template.stock
    cost = template.worth_fen * template.uses
    reasons = (
        (not is_given or (channel is Channel.PAGE and not template.is_public), Refusal.NOT_LIVE),
        (validity.window(template, given_at=now)[1] <= now, Refusal.OVER),
        (standing.had >= template.per_person, Refusal.LIMIT),
        (standing.has_redeemed, Refusal.FIRST_ONLY),
        (not _is_in_segment(session, template, follower_id), Refusal.SEGMENT),
        (template.issued >= standing.released, Refusal.LATER if more_to_come else Refusal.SOLD_OUT),
        (template.committed_fen + cost > template.budget_fen, Refusal.SOLD_OUT),
        (template.per_day is not None and standing.given_today >= template.per_day, Refusal.TODAY_FULL),
    )
    return next((reason for is_so, reason in reasons if is_so), None)


def _is_in_segment(session: Session, template: CouponTemplate, follower_id: int) -> bool:
    """Whether the merchant's conditions mean this person; that they follow is never one of them (CO-9)."""
    if template.segment_id is None:
        return True
    mine = select(Segment.wanted).where(Segment.id == template.segment_id, Segment.merchant_id == template.merchant_id)
    stored = session.execute(mine).scalar_one_or_none()
    if stored is None:
        return False
    wanted = replace(as_filter(stored), following_only=False, acquired_only=False)
    meant, given = fans.conditions(template.merchant_id, wanted)
    found = text(f"""
        SELECT EXISTS (SELECT 1 FROM fan f JOIN follower w ON w.id = f.follower_id
                       WHERE {meant} AND f.follower_id = :those)""")
    return bool(session.execute(found, {**given, "those": follower_id}).scalar_one())


# ---- Giving ----------------------------------------------------------------------------------------------------------


def grant(
    session: Session,
    *,
    template_id: int,
    follower_id: int,
    cause: str,
    channel: Channel,
    now: datetime,
    code_id: int | None = None,
) -> Given:
    """Give a person a coupon because of `cause`; the same cause again gives the same coupon, sold out or not.

    A refusal is a `NotGiven` and leaves nothing behind, so the caller's transaction may go on; a template nobody
    here may see is `NotFound`.
    """
    if not 0 < len(cause) <= CAUSE_MAX:
        raise Invalid("请求不完整，请刷新页面再试。", field="cause")
    asked = {"template": template_id, "follower": follower_id, "cause": cause}
    # A refusal takes back what was written for it, and nothing else of the caller's.
    with session.begin_nested():
        for _ in range(TRIES):
            template = session.get(CouponTemplate, template_id, populate_existing=True)
            if template is None or template.state == TemplateState.DRAFT:
                raise NotFound("没有这张券。")
            if (earlier := session.execute(_BY_CAUSE, asked).one_or_none()) is not None:
                return _given(earlier, is_new=False)
            if not may_have_benefits(session, follower_id=follower_id):
                raise NotGiven(Refusal.IDENTITY)
            standing = session.execute(
                _ONE, {"template": template_id, "follower": follower_id, "now": now, "day": business_day(now)}
            ).one()
            refusal = _why_not(
                session, template, standing, follower_id=follower_id, channel=channel, now=now
            )  # fmt: skip
            if refusal is not None:
                raise NotGiven(refusal, template.refusals)
            written = _write(session, template, standing.had + 1, asked, channel, code_id, now)
            if written is not None:
                _count(session, template, follower_id=follower_id, now=now)
                return _given(written, is_new=True)
            # The same person at the same moment elsewhere: that one is committed by now, and is read next.
    raise Busy


def _given(row: Row[Any], *, is_new: bool) -> Given:
    return Given(
        row.id, row.public_id, row.template_id, row.merchant_id, row.follower_id, row.seq, is_new,
        row.valid_from, row.valid_to,
    )  # fmt: skip


_WRITE: Final = text("""
    INSERT INTO coupon (merchant_id, template_id, public_id, follower_id, seq, cause, channel, code_id, worth_fen,
                        uses, uses_left, valid_from, valid_to, given_at)
    VALUES (:merchant, :template, :public_id, :follower, :seq, :cause, :channel, :code, :worth,
            :uses, :uses, :valid_from, :valid_to, :now)
    ON CONFLICT DO NOTHING
    RETURNING id, public_id, template_id, merchant_id, follower_id, seq, valid_from, valid_to""")


def _write(
    session: Session,
    template: CouponTemplate,
    seq: int,
    asked: Mapping[str, Any],
    channel: Channel,
    code_id: int | None,
    now: datetime,
) -> Row[Any] | None:
    """The coupon's row; None where this number or this cause of the person's is taken."""
    valid_from, valid_to = validity.window(template, given_at=now)
    return session.execute(
        _WRITE,
        {
            **asked, "merchant": template.merchant_id, "public_id": new_public_id(), "seq": seq,
            "channel": channel, "code": code_id, "worth": template.worth_fen * template.uses, "uses": template.uses,
            "valid_from": valid_from, "valid_to": valid_to, "now": now,
        },
    ).one_or_none()  # fmt: skip


_COUNT_DAY: Final = text("""
    INSERT INTO coupon_template_day AS d (merchant_id, template_id, day, given, most)
    SELECT t.merchant_id, t.id, :day, 1, coalesce(t.per_day, t.stock + 1) FROM coupon_template t WHERE t.id = :template
    ON CONFLICT (template_id, day) DO UPDATE SET given = d.given + 1, most = excluded.most
    WHERE d.given < excluded.most""")
_COUNT: Final = text(f"""
    UPDATE coupon_template t SET issued = issued + 1, committed_fen = committed_fen + worth_fen * uses
    WHERE t.id = :template AND t.state = 'live'
      AND t.issued < {_RELEASED} AND t.committed_fen + t.worth_fen * t.uses <= t.budget_fen""")


def _count(session: Session, template: CouponTemplate, *, follower_id: int, now: datetime) -> None:
    """Count the coupon against its day, its stock and its budget; whoever is too late is told why."""
    counted = {"template": template.id, "now": now, "day": business_day(now)}
    # The new row's foreign key holds the person: whoever was erased meanwhile is seen here.
    if not may_have_benefits(session, follower_id=follower_id):
        raise NotGiven(Refusal.IDENTITY)
    if not rows_changed(session.execute(_COUNT_DAY, counted)):
        raise NotGiven(Refusal.TODAY_FULL, template.refusals)
    if rows_changed(session.execute(_COUNT, counted)):
        return
    session.refresh(template)
    standing = session.execute(_ONE, {**counted, "follower": follower_id}).one()
    if template.state != TemplateState.LIVE:
        raise NotGiven(Refusal.NOT_LIVE, template.refusals)
    is_later = standing.next_at is not None and template.issued < template.stock
    raise NotGiven(Refusal.LATER if is_later else Refusal.SOLD_OUT, template.refusals)


def claimable(session: Session, *, merchant_id: int, follower_id: int, now: datetime) -> list[Claimable]:
    """A merchant's public coupons for one person, the newest first: which they may take now, and why not the others."""
    given = {"merchant": merchant_id, "follower": follower_id, "now": now, "day": business_day(now)}
    may = may_have_benefits(session, follower_id=follower_id)
    found = []
    for standing in session.execute(_PUBLIC, given).all():
        template = session.get_one(CouponTemplate, standing.id, populate_existing=True)
        refusal = (
            _why_not(session, template, standing, follower_id=follower_id, channel=Channel.PAGE, now=now)
            if may
            else Refusal.IDENTITY
        )
        words = "" if refusal is None else NotGiven(refusal, template.refusals).template
        left = max(standing.released - template.issued, 0)
        found.append(Claimable(template, refusal, words, standing.had, left, standing.next_at))
    return found
