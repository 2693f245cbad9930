"""At the till: a code that an owner shows, what the staff sees by it, and the coupon that is used up, once.

Everything that redeeming does is one transaction: the coupon's use, the record, the points it earns, what its issuer
owes, and the reward of whoever brought the person here (CO-10). Each guard is in the statement that writes, so of two
tills the second is told no, with the time and place of the first (CO-3).

Locks are taken in one order: the person at this merchant, the coupon, the merchant's place among the acceptors, then
points.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.coupons import alliance, validity
from campaigns.coupons.models import CouponKind, CouponState
from campaigns.points import ledger, levels, rules
from campaigns.points.models import RuleTrigger
from campaigns.referrals import rewards
from campaigns.referrals.models import Cause
from core import audit, nonces
from core.clock import SHANGHAI
from core.database import Role, rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from core.runtime import CODE_ALPHABET, Runtime
from merchants import identities
from merchants.models import MerchantState, StaffRole
from merchants.wording import clean

TYPED_LENGTH: Final = 8
"""40 bits: what somebody reads out when the camera does not work."""
TOKEN_LENGTH: Final = 26
"""130 bits, in letters that make a small QR code (CO-7)."""
CODE_LASTS: Final = timedelta(minutes=5)
MOST_CODES: Final = 5
"""Codes of one person that work at the same time; the page shows a new one every minute."""
MOST_TRIES: Final = 5
"""Codes that a member of staff may mistype within a minute."""
HELD: Final = timedelta(minutes=10)
LONGEST_HELD: Final = timedelta(minutes=60)
VISITS_APART: Final = timedelta(minutes=10)
"""One person's visits to one merchant are so far apart: whoever scans a card twice has seen one visit."""
UNDO_WITHIN: Final = {StaffRole.CLERK: timedelta(minutes=30), StaffRole.OWNER: timedelta(hours=24)}
MOST_BILL: Final = 100_000_000
REASON_MAX: Final = 100
MOST_ON_CARD: Final = 50

_LOOK_ALIKES: Final = str.maketrans("ILOАВЕКМНОРСТХ", "110ABEKMH0PCTX")
"""Letters that are read or typed for others: Crockford's, and Cyrillic ones that look the same."""

log = structlog.get_logger(__name__)


class UnknownCode(NotFound):
    code = "unknown_code"
    message = "没有找到这个码，请核对后再输，或请顾客刷新页面。"


class CodeExpired(BusinessError):
    code = "code_expired"
    message = "这个码已经过期，请顾客刷新页面，出示新的码。"


class TooManyTries(BusinessError):
    code = "too_many_tries"
    status = 429
    message = "输错太多次了，请等一分钟再试。"


class CannotUse(BusinessError):
    """Why this coupon cannot be used here and now; `code` says which."""

    def __init__(self, code: str, message: str, **detail: Any) -> None:
        super().__init__(message, **detail)
        self.code = code


class BillNeeded(Invalid):
    code = "bill_needed"

    def __init__(self) -> None:
        super().__init__("这张券要看消费金额，请填写账单金额。", field="bill")


class BelowMinimum(Invalid):
    code = "min_spend"


class VisitedJustNow(BusinessError):
    code = "visited_just_now"
    message = "%(at)s 已经记过一次到店，%(minutes)s 分钟内不用再记。"


class TooLate(BusinessError):
    code = "too_late"
    message = "已经超过可以撤销的时间。"


class AlreadyUndone(BusinessError):
    code = "already_undone"
    message = "这一次已经撤销过了。"


# ---- The code an owner shows -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """What the owner's page shows: `token` as a QR code, `typed` to read out."""

    token: str
    typed: str
    expires_at: datetime


def show_code(
    session: Session, runtime: Runtime, *, follower_id: int, coupon_id: int | None = None, now: datetime
) -> Shown:
    """A fresh code for the membership card, or for one coupon. Only keyed hashes of it are kept."""
    _lock(session, f"shown code {follower_id}")
    if coupon_id is not None:
        is_theirs = text("SELECT 1 FROM coupon WHERE id = :coupon AND follower_id = :follower")
        if session.execute(is_theirs, {"coupon": coupon_id, "follower": follower_id}).one_or_none() is None:
            raise NotFound
    session.execute(_DROP_OLD_CODES, {"follower": follower_id, "now": now, "kept": MOST_CODES - 1})
    while True:
        shown = Shown(runtime.new_code(TOKEN_LENGTH), runtime.new_code(TYPED_LENGTH), now + CODE_LASTS)
        added = session.execute(
            _SHOW,
            {
                "follower": follower_id, "coupon": coupon_id, "token": _hash(runtime, shown.token),
                "typed": _hash(runtime, shown.typed), "now": now, "until": shown.expires_at,
            },
        )  # fmt: skip
        # Two people whose codes are the same would be one person at the till.
        if rows_changed(added):
            return shown


def normal_code(shown: str) -> str | None:
    """A code as it was made, from whatever was scanned or typed; None where it cannot be one."""
    if len(shown) > 200:
        return None
    plain = unicodedata.normalize("NFKC", shown).strip().rpartition("/")[2].upper()
    plain = "".join(one for one in plain if not one.isspace() and unicodedata.category(one) not in {"Pd", "Cf"})
    plain = plain.translate(_LOOK_ALIKES)
    if len(plain) not in {TYPED_LENGTH, TOKEN_LENGTH} or not set(plain) <= set(CODE_ALPHABET):
        return None
    return plain


def _hash(runtime: Runtime, code: str) -> bytes:
    return runtime.keyed_id("shown code", code)


_DROP_OLD_CODES: Final = text("""
    DELETE FROM shown_code WHERE follower_id = :follower AND (expires_at <= :now OR id NOT IN (
        SELECT id FROM shown_code WHERE follower_id = :follower ORDER BY id DESC LIMIT :kept))""")
_SHOW: Final = text("""
    INSERT INTO shown_code (follower_id, coupon_id, token_hash, typed_hash, created_at, expires_at)
    VALUES (:follower, :coupon, :token, :typed, :now, :until)
    ON CONFLICT DO NOTHING""")


# ---- Who stands there ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Presented:
    follower_id: int
    coupon_id: int | None


def _find(
    session: Session, runtime: Runtime, *, merchant_id: int, staff_id: int, shown: str, now: datetime
) -> _Presented:
    """Whose code this is. Wrong ones are counted for good, whatever becomes of the request (CO-7)."""
    # One after the other, so that nobody tries a thousand codes at once.
    _lock(session, f"till {staff_id}")
    minute = now.replace(second=0, microsecond=0)
    tried = {"merchant": merchant_id, "staff": staff_id, "minute": minute, "most": MOST_TRIES}
    if (session.execute(_TRIES, tried).scalar() or 0) >= MOST_TRIES:
        raise _too_many(now)
    code = normal_code(shown)
    if code is None:
        raise UnknownCode
    digest = _hash(runtime, code)
    session.execute(text("SELECT set_config('app.shown_code', :hash, true)"), {"hash": digest.hex()})
    row = session.execute(_FIND_SHOWN, {"hash": digest}).one_or_none()
    if row is None:
        with runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as own:
            tries = own.execute(_COUNT_TRY, tried).scalar()
        if tries == MOST_TRIES:
            log.warning("codes are guessed at a till", merchant_id=merchant_id, staff_id=staff_id)
        raise UnknownCode
    if row.expires_at <= now:
        raise CodeExpired
    return _Presented(row.follower_id, row.coupon_id)


def _too_many(now: datetime) -> TooManyTries:
    refusal = TooManyTries()
    refusal.retry_after_s = 60 - now.second
    return refusal


_TRIES: Final = text("SELECT tries FROM code_try WHERE staff_id = :staff AND minute = :minute")
_COUNT_TRY: Final = text("""
    INSERT INTO code_try (merchant_id, staff_id, minute, tries) VALUES (:merchant, :staff, :minute, 1)
    ON CONFLICT (staff_id, minute) DO UPDATE SET tries = code_try.tries + 1 WHERE code_try.tries < :most
    RETURNING tries""")
_FIND_SHOWN: Final = text("""
    SELECT follower_id, coupon_id, expires_at FROM shown_code WHERE token_hash = :hash OR typed_hash = :hash""")


# ---- What the till sees ----------------------------------------------------------------------------------------------


class Why(StrEnum):
    """Why a coupon cannot be used here and now, beyond what its terms say (`validity.Refused`)."""

    REDEEMED = "already_redeemed"
    REVOKED = "revoked"
    GIVEN_AWAY = "given_away"
    HELD_ELSEWHERE = "held_elsewhere"
    NOT_FIRST = "not_first"
    FULL_HERE = "full_here"
    ISSUER_AWAY = "issuer_away"


WORDS: Final = {
    Why.REDEEMED: "已经核销过了",
    Why.REVOKED: "已收回",
    Why.GIVEN_AWAY: "已转给别人",
    Why.HELD_ELSEWHERE: "正在另一家店使用",
    Why.NOT_FIRST: "只限第一次在本店用券的顾客",
    Why.FULL_HERE: "本店能核销的张数已经用完",
    Why.ISSUER_AWAY: "发券的店已经停止合作",
}


@dataclass(frozen=True)
class AtTill:
    """One coupon as the staff sees it."""

    public_id: str
    name: str
    terms: str
    kind: CouponKind
    headline: validity.Line
    issuer_id: int
    issuer_name: str
    uses: int
    uses_left: int
    min_spend_fen: int
    valid_to: datetime
    reserved_until: datetime | None
    """Held by this till until then."""
    needs_bill: bool
    refused: str
    """A `Why` or a `validity.Refused`; empty where it can be used."""
    reason: str
    """The same in words."""

    @property
    def is_usable(self) -> bool:
        return not self.refused


@dataclass(frozen=True)
class Card:
    """Who stands there, as far as this merchant knows them, and what they can use."""

    follower_id: int
    fan_number: str | None
    """None where they are in no list of this merchant yet."""
    level: levels.Standing
    points: int
    pending_points: int
    redemptions: int
    """What they have redeemed here before."""
    coupons: tuple[AtTill, ...]
    one_coupon: bool
    """The code was for one coupon, not for the card."""


def look_up(session: Session, runtime: Runtime, *, merchant_id: int, staff_id: int, shown: str, now: datetime) -> Card:
    """What the staff sees of whoever shows this code: usable coupons first, then the others with the reason."""
    person = _find(session, runtime, merchant_id=merchant_id, staff_id=staff_id, shown=shown, now=now)
    here = {"merchant": merchant_id, "follower": person.follower_id}
    about = session.execute(_ABOUT, here).one()
    rows = session.execute(
        _COUPONS, {**here, "coupon": person.coupon_id, "public_id": None, "most": MOST_ON_CARD, "now": now}
    ).all()
    seen = [_at_till(row, merchant_id=merchant_id, has_redeemed=about.redemptions > 0, now=now) for row in rows]
    level = levels.standing(session, merchant_id=merchant_id, follower_id=person.follower_id, now=now)
    return Card(
        person.follower_id, about.number, level, about.points, about.pending, about.redemptions,
        tuple(sorted(seen, key=lambda one: not one.is_usable)), person.coupon_id is not None,
    )  # fmt: skip


def _at_till(row: Any, *, merchant_id: int, has_redeemed: bool, now: datetime) -> AtTill:
    refused = _refused(row, merchant_id=merchant_id, has_redeemed=has_redeemed, now=now)
    is_held_here = row.state == CouponState.RESERVED and row.reserved_at_id == merchant_id and now < row.reserved_until
    words: dict[Any, str] = {**WORDS, **validity.REFUSED_WORDS}
    return AtTill(
        row.public_id, row.name, row.terms, CouponKind(row.kind), validity.headline(row), row.merchant_id,
        row.issuer_name, row.coupon_uses, row.uses_left, row.min_spend_fen, row.coupon_valid_to,
        row.reserved_until if is_held_here else None, _needs_bill(row), refused or "",
        words[refused] if refused else "",
    )  # fmt: skip


def _needs_bill(row: Any) -> bool:
    return bool(row.kind == CouponKind.PERCENT or row.min_spend_fen > 0)


def _refused(
    row: Any, *, merchant_id: int, has_redeemed: bool, now: datetime, bill_fen: int | None = None
) -> Why | validity.Refused | None:
    """Why this merchant cannot take this coupon now: what it is by now first, what can be waited for last."""
    by_terms = validity.why_not(
        row, valid_from=row.coupon_valid_from, valid_to=row.coupon_valid_to, at=now, bill_fen=bill_fen
    )
    is_out = by_terms in {validity.Refused.NOT_YET, validity.Refused.OVER}
    is_held = row.state == CouponState.RESERVED and row.reserved_at_id != merchant_id and now < row.reserved_until
    is_at_home = row.merchant_id == merchant_id
    reasons: tuple[tuple[bool, Why | validity.Refused | None], ...] = (
        (row.state == CouponState.REDEEMED, Why.REDEEMED),
        (row.state == CouponState.REVOKED, Why.REVOKED),
        (row.state == CouponState.GIVEN_AWAY, Why.GIVEN_AWAY),
        (row.state == CouponState.EXPIRED, validity.Refused.OVER),
        (is_out, by_terms),
        (is_held, Why.HELD_ELSEWHERE),
        (not is_at_home and row.issuer_state != MerchantState.ACTIVE, Why.ISSUER_AWAY),
        (not is_at_home and row.most is not None and row.redeemed >= row.most, Why.FULL_HERE),
        (is_at_home and row.first_only and has_redeemed, Why.NOT_FIRST),
    )
    return next((reason for is_so, reason in reasons if is_so), by_terms)


_ABOUT: Final = text("""
    SELECT (SELECT number FROM fan WHERE merchant_id = :merchant AND follower_id = :follower) AS number,
           coalesce((SELECT balance FROM points_account
                     WHERE merchant_id = :merchant AND follower_id = :follower AND kind = 'fan'), 0) AS points,
           coalesce((SELECT balance FROM points_account
                     WHERE merchant_id = :merchant AND follower_id = :follower AND kind = 'pending'), 0) AS pending,
           (SELECT count(*) FROM redemption WHERE merchant_id = :merchant AND follower_id = :follower
                                              AND reversed_at IS NULL) AS redemptions""")
_COUPONS: Final = text("""
    SELECT c.id, c.public_id, c.merchant_id, c.template_id, c.state, c.uses AS coupon_uses, c.uses_left, c.worth_fen,
           c.valid_from AS coupon_valid_from, c.valid_to AS coupon_valid_to, c.reserved_until, c.reserved_at_id,
           c.ended_at, t.name, t.terms, t.kind, t.value_fen, t.percent_off, t.uses, t.min_spend_fen, t.valid_from,
           t.valid_to, t.starts_after_days, t.lasts_days, t.weekdays, t.hours, t.except_dates, t.per_person,
           t.first_only, t.is_transferable, m.name AS issuer_name, m.state AS issuer_state, a.most, a.redeemed
    FROM coupon c
    JOIN coupon_template t ON t.id = c.template_id
    JOIN merchant m ON m.id = c.merchant_id
    LEFT JOIN coupon_acceptor a
      ON a.template_id = c.template_id AND a.acceptor_id = :merchant AND a.state = 'agreed'
    WHERE c.follower_id = :follower AND (c.merchant_id = :merchant OR a.acceptor_id IS NOT NULL)
      AND (CAST(:coupon AS bigint) IS NULL OR c.id = :coupon)
      AND (CAST(:public_id AS text) IS NULL OR c.public_id = :public_id)
      -- On the card: what may still be used, and what the person may ask about.
      AND (CAST(:coupon AS bigint) IS NOT NULL OR CAST(:public_id AS text) IS NOT NULL
           OR c.state IN ('issued', 'reserved') OR c.ended_at > CAST(:now AS timestamptz) - interval '1 day')
    ORDER BY c.state NOT IN ('issued', 'reserved'), c.valid_to, c.id LIMIT :most""")


# ---- Redeeming -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Redeemed:
    """What the till shows, big and plain; the same again for the same nonce."""

    redemption_id: int
    coupon_public_id: str
    name: str
    issuer_name: str
    bill_fen: int | None
    discount_fen: int
    uses: int
    uses_left: int
    points: int
    is_first_here: bool
    is_own: bool
    at: datetime

    @property
    def to_pay_fen(self) -> int | None:
        return None if self.bill_fen is None else self.bill_fen - self.discount_fen

    def answer(self) -> dict[str, Any]:
        """As it is kept under the nonce."""
        return {**vars(self), "at": self.at.isoformat()}

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Redeemed:
        """As it was answered the first time."""
        return cls(**{**answer, "at": datetime.fromisoformat(answer["at"])})


def redeem(
    session: Session,
    runtime: Runtime,
    *,
    merchant_id: int,
    staff_id: int,
    shown: str,
    coupon_public_id: str,
    bill_fen: int | None,
    nonce: str,
    now: datetime,
) -> Redeemed:
    """Use a coupon once, here, with all that follows from it, or refuse and change nothing (CO-3 to CO-6, CO-10).

    It must belong to whoever shows the code; somebody else's, and one that this merchant does not take, is not found.
    """

    def work() -> dict[str, Any]:
        person = _find(session, runtime, merchant_id=merchant_id, staff_id=staff_id, shown=shown, now=now)
        return _redeem(
            session, merchant_id=merchant_id, staff_id=staff_id, person=person, public_id=coupon_public_id,
            bill_fen=_bill(bill_fen), now=now,
        ).answer()  # fmt: skip

    answered = nonces.answer_once(
        session, work, actor=f"staff:{staff_id}", route="redeem", nonce=nonce, merchant_id=merchant_id,
        body={"shown": shown, "coupon": coupon_public_id, "bill": bill_fen},
    )  # fmt: skip
    return Redeemed.of(answered.answer)


def _redeem(
    session: Session,
    *,
    merchant_id: int,
    staff_id: int,
    person: _Presented,
    public_id: str,
    bill_fen: int | None,
    now: datetime,
) -> Redeemed:
    follower_id = person.follower_id
    _lock_person(session, merchant_id, follower_id)
    row = _coupon(session, merchant_id=merchant_id, person=person, public_id=public_id)
    has_redeemed = _has_redeemed(session, merchant_id, follower_id)
    refused = _refused(row, merchant_id=merchant_id, has_redeemed=has_redeemed, now=now, bill_fen=bill_fen)
    if refused is not None:
        raise _refusal(session, row, refused)
    if bill_fen is None and _needs_bill(row):
        raise BillNeeded
    used = session.execute(
        _USE, {"coupon": row.id, "follower": follower_id, "merchant": merchant_id, "now": now}
    ).one_or_none()
    if used is None:
        # Somebody was quicker since it was looked at.
        row = _coupon(session, merchant_id=merchant_id, person=person, public_id=public_id)
        lost = _refused(row, merchant_id=merchant_id, has_redeemed=has_redeemed, now=now) or Why.REDEEMED
        raise _refusal(session, row, lost)
    percent = None
    if row.merchant_id != merchant_id:
        percent = alliance.take_place(session, template_id=row.template_id, acceptor_id=merchant_id)
        if percent is None:
            raise _refusal(session, row, Why.FULL_HERE)
    discount = validity.discount(row, bill_fen)
    is_own = identities.is_staff(session, follower_id=follower_id, staff_id=staff_id)
    redemption_id = _record(
        session,
        uses=used.uses,
        values={
            "merchant": merchant_id, "issuer": row.merchant_id, "coupon": row.id, "template": row.template_id,
            "follower": follower_id, "staff": staff_id, "bill": bill_fen, "discount": discount,
            "is_first": not has_redeemed, "is_own": is_own, "now": now,
        },
        first=used.uses - used.uses_left,
    )  # fmt: skip
    if percent is not None:
        owed, _ = alliance.split(discount, percent)
        alliance.settle(
            session, redemption_id=redemption_id, payer_id=row.merchant_id, earner_id=merchant_id, fen=owed, now=now
        )
    points = _reward(
        session, merchant_id=merchant_id, follower_id=follower_id, source=Cause.REDEMPTION, source_id=redemption_id,
        bill_fen=bill_fen, is_visit=not _was_here(session, merchant_id, follower_id, now, but=redemption_id), now=now,
    )  # fmt: skip
    return Redeemed(
        redemption_id, row.public_id, row.name, row.issuer_name, bill_fen, discount, used.uses, used.uses_left, points,
        not has_redeemed, is_own, now,
    )  # fmt: skip


def _bill(bill_fen: int | None) -> int | None:
    if bill_fen is not None and not 0 <= bill_fen <= MOST_BILL:
        raise Invalid("账单金额不对，请重新填写。", field="bill")
    return bill_fen


def _coupon(session: Session, *, merchant_id: int, person: _Presented, public_id: str) -> Any:
    """A coupon of whoever shows the code, which this merchant takes."""
    row = session.execute(
        _COUPONS,
        {
            "merchant": merchant_id, "follower": person.follower_id, "coupon": person.coupon_id,
            "public_id": public_id, "most": 1, "now": None,
        },
    ).one_or_none()  # fmt: skip
    if row is None:
        raise NotFound("没有找到这张券，或者本店不能核销。")
    return row


def _refusal(session: Session, row: Any, refused: Why | validity.Refused) -> BusinessError:
    """The refusal as the staff reads it."""
    if refused is Why.REDEEMED:
        return _already(session, row)
    if refused is validity.Refused.MIN_SPEND:
        return BelowMinimum("没到最低消费 %(least)s 元。", field="bill", least=validity.yuan(row.min_spend_fen))
    if refused is validity.Refused.OVER:
        return CannotUse(
            "expired",
            "这张券 %(at)s 已经过期。",
            at=_time(min(row.coupon_valid_to, row.ended_at or row.coupon_valid_to)),
        )
    if refused is validity.Refused.NOT_YET:
        return CannotUse("not_yet", "这张券 %(at)s 起才能用。", at=_time(row.coupon_valid_from))
    words: dict[Any, str] = {**WORDS, **validity.REFUSED_WORDS}
    return CannotUse(str(refused), "这张券现在不能用：%(reason)s。", reason=Phrase(words[refused]))


def _already(session: Session, row: Any) -> CannotUse:
    """With time and place (CO-6); of another merchant's till this one learns the time alone."""
    last = session.execute(_LAST_USE, {"coupon": row.id}).one_or_none()
    if last is not None:
        return CannotUse(
            Why.REDEEMED, "这张券已经用过了：%(at)s，在%(place)s。", at=_time(last.redeemed_at), place=last.name
        )
    if row.ended_at is not None:
        return CannotUse(Why.REDEEMED, "这张券已经用过了：%(at)s，在另一家店。", at=_time(row.ended_at))
    return CannotUse(Why.REDEEMED, "这张券已经用过了。")


def _time(at: datetime) -> str:
    here = at.astimezone(SHANGHAI)
    return f"{here.year}年{here.month}月{here.day}日 {here:%H:%M}"


def _has_redeemed(session: Session, merchant_id: int, follower_id: int) -> bool:
    return bool(session.execute(_HAS_REDEEMED, {"merchant": merchant_id, "follower": follower_id}).scalar_one())


def _record(session: Session, *, uses: int, values: Mapping[str, Any], first: int) -> int:
    """Write the redemption under the first number of a use that stands for none, and return its id.

    The coupon's row is locked, so a number is free or it is not; after an undo the free one is not the next one.
    """
    for use_no in (first, *(number for number in range(1, uses + 1) if number != first)):
        redemption_id: int | None = session.execute(_REDEEM, {**values, "use_no": use_no}).scalar()
        if redemption_id is not None:
            return redemption_id
    raise CannotUse(Why.REDEEMED, "这张券已经用过了。")


def _was_here(
    session: Session, merchant_id: int, follower_id: int, now: datetime, *, but: int | None = None
) -> datetime | None:
    """When the person was last known to be here, where that is the same visit still; `but` for a redemption."""
    at: datetime | None = session.execute(
        _WAS_HERE, {"merchant": merchant_id, "follower": follower_id, "since": now - VISITS_APART, "but": but}
    ).scalar()
    return at


def _lock_person(session: Session, merchant_id: int, follower_id: int) -> None:
    """What happens to one person at one merchant happens one after the other: there is one first redemption."""
    _lock(session, f"at till {merchant_id} {follower_id}")


def _lock(session: Session, name: str) -> None:
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def _reward(
    session: Session,
    *,
    merchant_id: int,
    follower_id: int,
    source: Cause,
    source_id: int,
    bill_fen: int | None,
    is_visit: bool,
    now: datetime,
) -> int:
    """What the merchant's rules give for it, to whoever brought the person first; how many points the person got."""
    cause: dict[str, Any] = {
        "merchant_id": merchant_id, "follower_id": follower_id, "source_type": source, "source_id": source_id,
        "now": now,
    }  # fmt: skip
    # A visit counts as a spend by its bill, a redemption as it is (RF-6).
    if source == Cause.REDEMPTION or bill_fen:
        rewards.reward_first_spend(
            session, merchant_id=merchant_id, follower_id=follower_id, cause_type=source, cause_id=source_id, now=now
        )
    paid = []
    if bill_fen:
        paid.append(rules.pay(session, trigger=RuleTrigger.SPEND, bill_fen=bill_fen, **cause))
    if is_visit:
        paid.append(rules.pay(session, trigger=RuleTrigger.VISIT, **cause))
    return sum(one.points for one in paid if one is not None)


def _take_rewards_back(session: Session, *, merchant_id: int, source: Cause, source_id: int, now: datetime) -> None:
    """What was paid for it, to whomever: the accounts of all concerned are held at once (PT-11)."""
    sources = [source, rewards.source_of(source)]
    concerned = session.execute(
        _CONCERNED, {"merchant": merchant_id, "sources": sources, "source_id": source_id}
    ).scalars()
    ledger.hold(session, merchant_id=merchant_id, follower_ids=list(concerned))
    rewards.take_back(session, merchant_id=merchant_id, cause_type=source, cause_id=source_id, now=now)
    rules.take_back(session, merchant_id=merchant_id, source_type=source, source_id=source_id, now=now)


_CONCERNED: Final = text("""
    SELECT DISTINCT follower_id FROM points_transfer
    WHERE merchant_id = :merchant AND source_type = ANY(:sources) AND source_id = :source_id""")
_USE: Final = text("""
    UPDATE coupon SET uses_left = uses_left - 1,
        state = CASE WHEN uses_left = 1 THEN 'redeemed' ELSE 'issued' END,
        ended_at = CASE WHEN uses_left = 1 THEN CAST(:now AS timestamptz) END,
        reserved_until = NULL, reserved_at_id = NULL
    WHERE id = :coupon AND follower_id = :follower AND uses_left > 0 AND valid_from <= :now AND :now < valid_to
      AND (state = 'issued' OR (state = 'reserved' AND (reserved_at_id = :merchant OR reserved_until <= :now)))
    RETURNING uses, uses_left""")
_REDEEM: Final = text("""
    INSERT INTO redemption (merchant_id, issuer_id, coupon_id, template_id, follower_id, staff_id, use_no, bill_fen,
                            discount_fen, is_first_here, is_own, redeemed_at)
    VALUES (:merchant, :issuer, :coupon, :template, :follower, :staff, :use_no, :bill, :discount, :is_first, :is_own,
            :now)
    ON CONFLICT (coupon_id, use_no) WHERE reversed_at IS NULL DO NOTHING
    RETURNING id""")
_LAST_USE: Final = text("""
    SELECT r.redeemed_at, m.name FROM redemption r JOIN merchant m ON m.id = r.merchant_id
    WHERE r.coupon_id = :coupon AND r.reversed_at IS NULL ORDER BY r.id DESC LIMIT 1""")
_HAS_REDEEMED: Final = text("""
    SELECT EXISTS (SELECT 1 FROM redemption
                   WHERE merchant_id = :merchant AND follower_id = :follower AND reversed_at IS NULL)""")
_WAS_HERE: Final = text("""
    SELECT max(at) FROM (
        SELECT max(at) AS at FROM visit
        WHERE merchant_id = :merchant AND follower_id = :follower AND reversed_at IS NULL AND at > :since
        UNION ALL
        SELECT max(redeemed_at) FROM redemption
        WHERE merchant_id = :merchant AND follower_id = :follower AND reversed_at IS NULL AND redeemed_at > :since
          AND id IS DISTINCT FROM :but) was""")


# ---- While the bill is paid ------------------------------------------------------------------------------------------


def reserve(
    session: Session,
    runtime: Runtime,
    *,
    merchant_id: int,
    staff_id: int,
    shown: str,
    coupon_public_id: str,
    now: datetime,
    held: timedelta = HELD,
) -> datetime:
    """Hold a coupon for this till while the bill is paid; until when.

    No longer than it is valid: holding it makes it no more valid than it is. Asking again does not hold it longer.
    """
    person = _find(session, runtime, merchant_id=merchant_id, staff_id=staff_id, shown=shown, now=now)
    row = _coupon(session, merchant_id=merchant_id, person=person, public_id=coupon_public_id)
    has_redeemed = _has_redeemed(session, merchant_id, person.follower_id)
    refused = _refused(row, merchant_id=merchant_id, has_redeemed=has_redeemed, now=now)
    if refused is not None:
        raise _refusal(session, row, refused)
    until = now + min(max(held, timedelta(minutes=1)), LONGEST_HELD)
    held_until: datetime | None = session.execute(
        _RESERVE, {"coupon": row.id, "merchant": merchant_id, "now": now, "until": until}
    ).scalar()
    if held_until is None:
        row = _coupon(session, merchant_id=merchant_id, person=person, public_id=coupon_public_id)
        lost = _refused(row, merchant_id=merchant_id, has_redeemed=has_redeemed, now=now) or Why.HELD_ELSEWHERE
        raise _refusal(session, row, lost)
    return held_until


def release(session: Session, *, merchant_id: int, coupon_public_id: str) -> None:
    """Hold a coupon no longer; one that this till does not hold is left as it is."""
    session.execute(_RELEASE, {"merchant": merchant_id, "public_id": coupon_public_id})


_RESERVE: Final = text("""
    UPDATE coupon SET state = 'reserved', reserved_at_id = :merchant,
        reserved_until = CASE WHEN state = 'reserved' AND reserved_at_id = :merchant AND reserved_until > :now
                              THEN reserved_until ELSE least(CAST(:until AS timestamptz), valid_to) END
    WHERE id = :coupon AND uses_left > 0 AND valid_from <= :now AND :now < valid_to
      AND (state = 'issued' OR (state = 'reserved' AND (reserved_at_id = :merchant OR reserved_until <= :now)))
    RETURNING reserved_until""")
_RELEASE: Final = text("""
    UPDATE coupon SET state = 'issued', reserved_until = NULL, reserved_at_id = NULL
    WHERE public_id = :public_id AND state = 'reserved' AND reserved_at_id = :merchant""")


# ---- A visit ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Visited:
    visit_id: int
    bill_fen: int | None
    points: int
    at: datetime

    def answer(self) -> dict[str, Any]:
        """As it is kept under the nonce."""
        return {**vars(self), "at": self.at.isoformat()}

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Visited:
        """As it was answered the first time."""
        return cls(**{**answer, "at": datetime.fromisoformat(answer["at"])})


def record_visit(
    session: Session,
    runtime: Runtime,
    *,
    merchant_id: int,
    staff_id: int,
    shown: str,
    bill_fen: int | None,
    nonce: str,
    now: datetime,
) -> Visited:
    """Note that whoever shows the card was here, and what they paid where the staff typed it in.

    Within `VISITS_APART` of another visit or redemption here it is the same visit, and refused.
    """

    def work() -> dict[str, Any]:
        person = _find(session, runtime, merchant_id=merchant_id, staff_id=staff_id, shown=shown, now=now)
        follower_id, bill = person.follower_id, _bill(bill_fen)
        _lock_person(session, merchant_id, follower_id)
        last = _was_here(session, merchant_id, follower_id, now)
        if last is not None:
            minutes = int(VISITS_APART.total_seconds()) // 60
            raise VisitedJustNow(at=f"{last.astimezone(SHANGHAI):%H:%M}", minutes=minutes)
        visit_id = session.execute(
            _VISIT,
            {"merchant": merchant_id, "follower": follower_id, "staff": staff_id, "bill": bill, "now": now},
        ).scalar_one()
        points = _reward(
            session, merchant_id=merchant_id, follower_id=follower_id, source=Cause.VISIT, source_id=visit_id,
            bill_fen=bill, is_visit=True, now=now,
        )  # fmt: skip
        return Visited(visit_id, bill, points, now).answer()

    answered = nonces.answer_once(
        session, work, actor=f"staff:{staff_id}", route="visit", nonce=nonce, merchant_id=merchant_id,
        body={"shown": shown, "bill": bill_fen},
    )  # fmt: skip
    return Visited.of(answered.answer)


def undo_visit(session: Session, *, merchant_id: int, staff_id: int, visit_id: int, reason: str, now: datetime) -> None:
    """Take a visit back, with the points it earned; within the time that an undo has."""
    why = clean(reason, name=Phrase("原因"), field="reason", longest=REASON_MAX, is_required=True)
    row = session.execute(
        text("SELECT follower_id, at FROM visit WHERE id = :visit AND merchant_id = :merchant"),
        {"visit": visit_id, "merchant": merchant_id},
    ).one_or_none()
    if row is None:
        raise NotFound
    _in_time(session, merchant_id, staff_id, row.at, now)
    _lock_person(session, merchant_id, row.follower_id)
    undone = text("UPDATE visit SET reversed_at = :now WHERE id = :visit AND reversed_at IS NULL")
    if not rows_changed(session.execute(undone, {"visit": visit_id, "now": now})):
        raise AlreadyUndone
    _take_rewards_back(session, merchant_id=merchant_id, source=Cause.VISIT, source_id=visit_id, now=now)
    _note_undo(session, merchant_id, staff_id, "visit.undo", f"visit:{visit_id}", why)


_VISIT: Final = text("""
    INSERT INTO visit (merchant_id, follower_id, staff_id, bill_fen, at)
    VALUES (:merchant, :follower, :staff, :bill, :now) RETURNING id""")


# ---- Undoing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Undone:
    redemption_id: int
    is_valid_again: bool


def undo(
    session: Session, *, merchant_id: int, staff_id: int, redemption_id: int, reason: str, now: datetime
) -> Undone:
    """Take a redemption of this merchant back, once, with everything that followed from it (CO-8).

    The coupon is valid again only where its time is not over; a clerk has half an hour for it, an owner a day.
    """
    why = clean(reason, name=Phrase("原因"), field="reason", longest=REASON_MAX, is_required=True)
    row = session.execute(_UNDOING, {"redemption": redemption_id, "merchant": merchant_id}).one_or_none()
    if row is None:
        raise NotFound
    _in_time(session, merchant_id, staff_id, row.redeemed_at, now)
    _lock_person(session, merchant_id, row.follower_id)
    session.execute(text("SELECT 1 FROM coupon WHERE id = :coupon FOR UPDATE"), {"coupon": row.coupon_id})
    undone = text("UPDATE redemption SET reversed_at = :now WHERE id = :redemption AND reversed_at IS NULL")
    if not rows_changed(session.execute(undone, {"redemption": redemption_id, "now": now})):
        raise AlreadyUndone
    is_valid_again = bool(session.execute(_UNUSE, {"coupon": row.coupon_id, "now": now}).scalar_one())
    session.execute(
        _REVERSE,
        {
            "redemption": redemption_id, "merchant": merchant_id, "staff": staff_id, "reason": why,
            "again": is_valid_again, "now": now,
        },
    )  # fmt: skip
    if row.issuer_id != merchant_id:
        alliance.give_place_back(session, template_id=row.template_id, acceptor_id=merchant_id)
        alliance.take_back(session, redemption_id=redemption_id, now=now)
    _take_rewards_back(session, merchant_id=merchant_id, source=Cause.REDEMPTION, source_id=redemption_id, now=now)
    _note_undo(session, merchant_id, staff_id, "redemption.undo", f"redemption:{redemption_id}", why)
    return Undone(redemption_id, is_valid_again)


def _in_time(session: Session, merchant_id: int, staff_id: int, at: datetime, now: datetime) -> None:
    """Whether this member of staff may still undo what happened then."""
    role = session.execute(
        text("SELECT role FROM staff WHERE id = :staff AND merchant_id = :merchant AND disabled_at IS NULL"),
        {"staff": staff_id, "merchant": merchant_id},
    ).scalar()
    if role is None:
        raise NotFound
    if now - at > UNDO_WITHIN[StaffRole(role)]:
        raise TooLate


def _note_undo(session: Session, merchant_id: int, staff_id: int, action: str, subject: str, reason: str) -> None:
    audit.record(
        session, actor_kind="merchant", actor_id=staff_id, merchant_id=merchant_id, action=action, subject=subject,
        detail={"reason": reason},
    )  # fmt: skip


_UNDOING: Final = text("""
    SELECT coupon_id, template_id, issuer_id, follower_id, redeemed_at FROM redemption
    WHERE id = :redemption AND merchant_id = :merchant""")
_UNUSE: Final = text("""
    UPDATE coupon SET uses_left = uses_left + 1,
        state = CASE WHEN state <> 'redeemed' THEN state
                     WHEN valid_from <= :now AND :now < valid_to THEN 'issued' ELSE 'expired' END,
        ended_at = CASE WHEN state = 'redeemed' AND valid_from <= :now AND :now < valid_to THEN NULL
                        WHEN state = 'redeemed' THEN CAST(:now AS timestamptz) ELSE ended_at END
    WHERE id = :coupon AND uses_left < uses
    RETURNING state IN ('issued', 'reserved') AND valid_from <= :now AND :now < valid_to""")
_REVERSE: Final = text("""
    INSERT INTO redemption_reversal (redemption_id, merchant_id, staff_id, reason, is_valid_again, reversed_at)
    VALUES (:redemption, :merchant, :staff, :reason, :again, :now)""")
