"""Coupons come to people: the one grant call, and how they end by time, by the merchant or by passing on.

A grant is decided by statements, never by what was read before: the coupon's own keys (CO-2 and the cause), then the
conditional update of the template and its day (CO-1), last of all, so that the rows everybody wants are held for a
moment only. Everything works for a person's own transaction (`Role.FAN`), the issuer's
(`Role.MERCHANT`) and the platform's.
"""

import hashlib
import secrets
from calendar import isleap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from campaigns.audience import as_filter
from campaigns.coupons import validity
from campaigns.coupons.models import Channel, CouponState, CouponTemplate, TemplateState
from campaigns.models import Segment
from campaigns.points import levels
from core import audit, outbox
from core.clock import business_day
from core.database import Role, rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from core.jobs import Handler
from core.outbox import Task
from core.runtime import Runtime
from merchants.reviews import REASON_MAX
from merchants.wording import clean
from qrcodes import fans
from qrcodes.codes import new_public_id

CAUSE_MAX: Final = 100
TRIES: Final = 110
"""How often a claim that lost against the same person's parallel claims looks again: more than anybody's limit."""
AT_ONCE: Final = 2_000
GIVE_BIRTHDAYS: Final = "give_birthday_coupons"
BIRTHDAYS_AT: Final = time(8, 0)
BIRTHDAYS_MISSED: Final = 2
"""Days that are made up for after a standstill."""
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
        (not _has_level(session, template, follower_id, now), Refusal.LEVEL),
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


def _has_level(session: Session, template: CouponTemplate, follower_id: int, now: datetime) -> bool:
    """Whether a person's level at the merchant is high enough for it."""
    if template.min_level == 0:
        return True
    standing = levels.standing(session, merchant_id=template.merchant_id, follower_id=follower_id, now=now)
    return standing.level >= template.min_level


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


# One statement, so that the rows which everybody wants are held for no longer than its commit takes.
_COUNT: Final = text(f"""
    WITH counted AS (
        UPDATE coupon_template t SET issued = issued + 1, committed_fen = committed_fen + worth_fen * uses
        WHERE t.id = :template AND t.state = 'live' AND t.issued < {_RELEASED}
          AND t.committed_fen + t.worth_fen * t.uses <= t.budget_fen
        RETURNING t.merchant_id, t.id, coalesce(t.per_day, t.stock) AS most),
    of_day AS (
        INSERT INTO coupon_template_day AS d (merchant_id, template_id, day, given, most)
        SELECT merchant_id, id, :day, 1, most FROM counted
        ON CONFLICT (template_id, day) DO UPDATE SET given = d.given + 1, most = excluded.most
        WHERE d.given < excluded.most
        RETURNING d.given)
    SELECT (SELECT count(*) FROM counted) AS counted, (SELECT count(*) FROM of_day) AS of_day""")


def _count(session: Session, template: CouponTemplate, *, follower_id: int, now: datetime) -> None:
    """Count the coupon against its stock, its budget and its day; whoever is too late is told why."""
    # The new row's foreign key holds the person: whoever was erased meanwhile is seen here.
    if not may_have_benefits(session, follower_id=follower_id):
        raise NotGiven(Refusal.IDENTITY)
    given = {"template": template.id, "now": now, "day": business_day(now)}
    found = session.execute(_COUNT, given).one()
    if found.counted and not found.of_day:
        raise NotGiven(Refusal.TODAY_FULL, template.refusals)
    if found.counted:
        return
    session.refresh(template)
    standing = session.execute(_ONE, {**given, "follower": follower_id}).one()
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


def look(session: Session, *, template: CouponTemplate, follower_id: int, channel: Channel, now: datetime) -> Claimable:
    """One template as a person sees it who came by this channel, whether anybody may take one or not."""
    given = {"template": template.id, "follower": follower_id, "now": now, "day": business_day(now)}
    standing = session.execute(_ONE, given).one()
    refusal: Refusal | None = Refusal.IDENTITY
    if may_have_benefits(session, follower_id=follower_id):
        refusal = _why_not(session, template, standing, follower_id=follower_id, channel=channel, now=now)
    words = "" if refusal is None else NotGiven(refusal, template.refusals).template
    left = max(standing.released - template.issued, 0)
    return Claimable(template, refusal, words, standing.had, left, standing.next_at)


def _record(
    session: Session, merchant_id: int, staff_id: int, action: str, coupon_id: int, detail: dict[str, Any]
) -> None:
    audit.record(
        session, actor_kind="merchant", actor_id=staff_id, merchant_id=merchant_id, action=action,
        subject=f"coupon:{coupon_id}", detail=detail,
    )  # fmt: skip


# ---- Ending ----------------------------------------------------------------------------------------------------------


def revoke(
    session: Session, *, merchant_id: int, staff_id: int, coupon_public_id: str, reason: str, now: datetime
) -> int:
    """The issuer takes a coupon back that has not been used up, with a reason. Returns its id.

    What it counted stays counted: it was issued (CO-1). Raises `NotRevocable`, `Invalid`, `NotFound`.
    """
    why = clean(reason, name=Phrase("原因"), field="reason", longest=REASON_MAX, is_required=True, lines=True)
    mine = {"public_id": coupon_public_id, "merchant": merchant_id, "now": now}
    coupon_id = session.execute(
        text("""
            UPDATE coupon SET state = 'revoked', ended_at = :now, reserved_until = NULL, reserved_at_id = NULL
            WHERE public_id = :public_id AND merchant_id = :merchant AND state IN ('issued', 'reserved')
            RETURNING id"""),
        mine,
    ).scalar_one_or_none()
    if coupon_id is None:
        known = text("SELECT 1 FROM coupon WHERE public_id = :public_id AND merchant_id = :merchant")
        if session.execute(known, mine).scalar() is None:
            raise NotFound("没有这张券。")
        raise NotRevocable
    _record(session, merchant_id, staff_id, "coupon.revoke", coupon_id, {"reason": why})
    return int(coupon_id)


def expire_due(session: Session, now: datetime) -> None:
    """End what is over (CO-5). What has been used up is never touched, and what a till holds is waited for."""
    session.execute(
        text("""
            WITH due AS (
                SELECT id FROM coupon
                WHERE valid_to <= :now AND (state = 'issued' OR (state = 'reserved' AND reserved_until <= :now))
                ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED)
            UPDATE coupon c
            SET state = 'expired', ended_at = :now, reserved_until = NULL, reserved_at_id = NULL
            FROM due WHERE c.id = due.id"""),
        {"now": now, "most": AT_ONCE},
    )


def release_reserved(session: Session, now: datetime) -> None:
    """Give back what a till has held for too long."""
    session.execute(
        text("""
            WITH due AS (
                SELECT id FROM coupon WHERE state = 'reserved' AND reserved_until <= :now AND valid_to > :now
                ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED)
            UPDATE coupon c SET state = 'issued', reserved_until = NULL, reserved_at_id = NULL
            FROM due WHERE c.id = due.id"""),
        {"now": now, "most": AT_ONCE},
    )


# ---- Birthdays -------------------------------------------------------------------------------------------------------


def owe_birthdays(session: Session, now: datetime) -> None:
    """Each morning: one task for each template that is given to birthdays."""
    today = business_day(now)
    live = select(CouponTemplate.id, CouponTemplate.merchant_id).where(
        CouponTemplate.for_birthdays, CouponTemplate.state == TemplateState.LIVE
    )
    outbox.add_many(
        session,
        [
            outbox.row(
                kind=GIVE_BIRTHDAYS, dedupe_key=f"birthdays:{template_id}:{today}", queue=outbox.SLOW,
                merchant_id=merchant_id, payload={"template_id": template_id, "day": today.isoformat()},
            )
            for template_id, merchant_id in session.execute(live)
        ],
    )  # fmt: skip


def give_birthdays(runtime: Runtime, task: Task) -> None:
    """A merchant's fans whose birthday it is get their coupon, once a year; days that were missed are made up for.

    Only who has told the birthday of their own accord, and still agrees.
    """
    template_id, today = int(task.payload["template_id"]), date.fromisoformat(task.payload["day"])
    days = [today - timedelta(days=ago) for ago in range(BIRTHDAYS_MISSED + 1)]
    with runtime.transaction(Role.PLATFORM) as session:
        born = {
            follower_id: day.year
            for day in days
            for follower_id in session.execute(_BORN_ON, {"template": template_id, "dates": _dates(day)}).scalars()
        }
    for follower_id, year in sorted(born.items()):
        with runtime.transaction(Role.PLATFORM) as session:
            try:
                grant(
                    session, template_id=template_id, follower_id=follower_id, cause=f"birthday:{year}",
                    channel=Channel.BIRTHDAY, now=runtime.now(),
                )  # fmt: skip
            except NotGiven:
                continue


_BORN_ON: Final = text("""
    SELECT p.follower_id FROM owner_profile p
    JOIN coupon_template t ON t.id = :template
    JOIN fan f ON f.follower_id = p.follower_id AND f.merchant_id = t.merchant_id AND f.erased_at IS NULL
    WHERE p.consented_at IS NOT NULL AND p.birth_month * 100 + p.birth_day = ANY(:dates)""")


def _dates(day: date) -> list[int]:
    """The birthdays that are kept on a day: whoever was born on 29 February has theirs on the 28th of other years."""
    dates = [day.month * 100 + day.day]
    if (day.month, day.day) == (2, 28) and not isleap(day.year):
        dates.append(229)
    return dates


# ---- Passing on ------------------------------------------------------------------------------------------------------


def offer_gift(session: Session, *, follower_id: int, coupon_public_id: str, now: datetime) -> str:
    """A link's token for whoever opens it first; an earlier link of the same coupon leads nowhere any more.

    The coupon stays its holder's until somebody takes it. Raises `NotPassable`, `NotFound`.
    """
    mine = {"follower": follower_id, "public_id": coupon_public_id}
    coupon = session.execute(_MINE_TO_PASS, mine).one_or_none()
    if coupon is None:
        raise NotFound("没有这张券。")
    if not coupon.is_transferable or coupon.state != CouponState.ISSUED or coupon.valid_to <= now:
        raise NotPassable
    if not may_have_benefits(session, follower_id=follower_id):
        raise NotGiven(Refusal.IDENTITY)
    cancel_gift(session, follower_id=follower_id, coupon_public_id=coupon_public_id, now=now)
    token = secrets.token_urlsafe(16)
    session.execute(
        text("""
            INSERT INTO coupon_gift (merchant_id, coupon_id, follower_id, token_hash, created_at, expires_at)
            VALUES (:merchant, :coupon, :follower, :hash, :now, :until)"""),
        {
            "merchant": coupon.merchant_id, "coupon": coupon.id, "follower": follower_id, "hash": hash_of(token),
            "now": now, "until": min(now + GIFT_LASTS, coupon.valid_to),
        },
    )  # fmt: skip
    return token


_MINE_TO_PASS: Final = text("""
    SELECT c.id, c.merchant_id, c.state, c.valid_to, t.is_transferable
    FROM coupon c JOIN coupon_template t ON t.id = c.template_id
    WHERE c.public_id = :public_id AND c.follower_id = :follower""")


def cancel_gift(session: Session, *, follower_id: int, coupon_public_id: str, now: datetime) -> int:
    """Take one's offers of a coupon back; returns how many there were."""
    cancelled = session.execute(
        text("""
            UPDATE coupon_gift g SET cancelled_at = :now FROM coupon c
            WHERE c.id = g.coupon_id AND c.public_id = :public_id AND g.follower_id = :follower
              AND g.taken_at IS NULL AND g.cancelled_at IS NULL"""),
        {"now": now, "public_id": coupon_public_id, "follower": follower_id},
    )
    return rows_changed(cancelled)


@dataclass(frozen=True)
class Offered:
    """What a link offers, for the page that asks before it is taken."""

    coupon_public_id: str
    template_id: int
    is_own: bool
    valid_from: datetime
    valid_to: datetime


def offered(session: Session, *, follower_id: int | None, token: str, now: datetime) -> Offered:
    """What somebody was sent. Raises `NoGift`."""
    _show(session, token)
    found = session.execute(_OFFERED, {"hash": hash_of(token), "now": now}).one_or_none()
    if found is None:
        raise NoGift
    return Offered(
        found.public_id, found.template_id, found.follower_id == follower_id, found.valid_from, found.valid_to
    )


_OFFERED: Final = text("""
    SELECT c.public_id, c.template_id, g.follower_id, c.valid_from, c.valid_to
    FROM coupon_gift g JOIN coupon c ON c.id = g.coupon_id
    WHERE g.token_hash = :hash AND g.taken_at IS NULL AND g.cancelled_at IS NULL AND g.expires_at > :now
      AND c.state = 'issued' AND c.valid_to > :now""")


def take_gift(session: Session, *, follower_id: int, token: str, now: datetime) -> Given:
    """Have the coupon that a neighbour passed on: a coupon of one's own from now on, with the same end and uses.

    Whoever opens the link first has it; the same person again sees the same coupon. Nobody takes their own. Raises
    `NoGift`, `OwnGift`, `NotGiven` for who may have nothing (CO-9).
    """
    _show(session, token)
    asked = {"hash": hash_of(token), "follower": follower_id, "now": now}
    with session.begin_nested():
        gift = session.execute(_GIFT, asked).one_or_none()
        if gift is None:
            raise NoGift
        if gift.follower_id == follower_id:
            raise OwnGift
        if (earlier := session.execute(_TAKEN, {**asked, "from": gift.coupon_id}).one_or_none()) is not None:
            return _given(earlier, is_new=False)
        if not rows_changed(session.execute(_TAKE, asked)):
            # The same person's other tap may have been the one.
            if (mine := session.execute(_TAKEN, {**asked, "from": gift.coupon_id}).one_or_none()) is not None:
                return _given(mine, is_new=False)
            raise NoGift
        if not rows_changed(session.execute(_GIVE_AWAY, {**asked, "from": gift.coupon_id})):
            raise NoGift
        written = session.execute(
            _PASS, {**asked, "from": gift.coupon_id, "cause": f"gift:{gift.id}", "public_id": new_public_id()}
        ).one()
        if not may_have_benefits(session, follower_id=follower_id):
            raise NotGiven(Refusal.IDENTITY)
    return _given(written, is_new=True)


_GIFT: Final = text("SELECT id, coupon_id, follower_id FROM coupon_gift WHERE token_hash = :hash")
_TAKEN: Final = text("""
    SELECT id, public_id, template_id, merchant_id, follower_id, seq, valid_from, valid_to
    FROM coupon WHERE passed_from_id = :from AND follower_id = :follower""")
_TAKE: Final = text("""
    UPDATE coupon_gift SET taken_at = :now
    WHERE token_hash = :hash AND taken_at IS NULL AND cancelled_at IS NULL AND expires_at > :now""")
_GIVE_AWAY: Final = text("""
    UPDATE coupon SET state = 'given_away', ended_at = :now
    WHERE id = :from AND state = 'issued' AND valid_to > :now""")
_PASS: Final = text("""
    INSERT INTO coupon (merchant_id, template_id, public_id, follower_id, cause, channel, code_id, passed_from_id,
                        worth_fen, uses, uses_left, valid_from, valid_to, given_at)
    SELECT merchant_id, template_id, :public_id, :follower, :cause, channel, code_id, id,
           worth_fen, uses, uses_left, valid_from, valid_to, :now
    FROM coupon WHERE id = :from
    RETURNING id, public_id, template_id, merchant_id, follower_id, seq, valid_from, valid_to""")


def hash_of(token: str) -> bytes:
    """What is kept of a link's token."""
    return hashlib.sha256(token.encode()).digest()


def _show(session: Session, token: str) -> None:
    """Let this transaction see the one gift whose link it was given."""
    shown = text("SELECT set_config('app.shown_code', :hash, true)")
    session.execute(shown, {"hash": hash_of(token).hex()})


HANDLERS: Final[Mapping[str, Handler]] = {GIVE_BIRTHDAYS: give_birthdays}
