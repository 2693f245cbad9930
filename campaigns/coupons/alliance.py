"""Coupons that other merchants honour (异业联盟): who takes part, what a redemption makes the issuer owe, and who owes
whom at the end of a month."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.coupons.models import AcceptorState
from core.clock import SHANGHAI, start_of_day
from core.database import rows_changed
from core.errors import BusinessError, Invalid, NotFound

MOST_PARTNERS: Final = 50
"""Merchants who honour one template."""
LINES_AT_ONCE: Final = 500


class NotAsked(BusinessError):
    code = "not_asked"
    message = "对方还没有发来邀请，或者条件已经改了，请刷新页面再看。"


class TooManyPartners(BusinessError):
    code = "too_many_partners"
    message = "一种券最多请 %(most)s 家店一起收。"


def split(discount_fen: int, pays_percent: int) -> tuple[int, int]:
    """What the issuer pays of a discount and what the redeemer bears, in whole fen; together the discount (MO-2)."""
    issuer = (discount_fen * pays_percent + 50) // 100
    return issuer, discount_fen - issuer


# ---- Taking part -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Partner:
    """One template and one merchant who honours it, or is asked to."""

    template_id: int
    template_public_id: str
    template_name: str
    issuer_id: int
    issuer_name: str
    acceptor_id: int
    acceptor_name: str
    state: AcceptorState
    pays_percent: int
    most: int | None
    redeemed: int
    asked_at: datetime
    decided_at: datetime | None


def ask(
    session: Session,
    *,
    merchant_id: int,
    template_id: int,
    acceptor_id: int,
    pays_percent: int,
    most: int | None,
    now: datetime,
) -> None:
    """Ask a merchant to honour a template; new conditions are a new question, the same ones change nothing."""
    if not 0 <= pays_percent <= 100:
        raise Invalid("结算比例要在 0 到 100 之间。", field="pays_percent")
    if most is not None and not 1 <= most <= 1_000_000:
        raise Invalid("最多核销的张数要在 1 到 1000000 之间。", field="most")
    if acceptor_id == merchant_id:
        raise Invalid("自己的店本来就可以核销，不用邀请。", field="acceptor_id")
    wanted = {
        "merchant": merchant_id, "template": template_id, "acceptor": acceptor_id, "percent": pays_percent,
        "most": most, "now": now,
    }  # fmt: skip
    # Locked, so that of two questions at once the second counts the first.
    others = session.execute(_LOCK_TEMPLATE, wanted).one_or_none()
    if others is None:
        raise NotFound
    if session.execute(_COUNT_PARTNERS, wanted).scalar_one() >= MOST_PARTNERS:
        raise TooManyPartners(most=MOST_PARTNERS)
    if not rows_changed(session.execute(_ASK, wanted)):
        # Fewer than were redeemed there already.
        raise Invalid("最多核销的张数不能少于已经核销的。", field="most")


def agree(session: Session, *, merchant_id: int, template_id: int, pays_percent: int, now: datetime) -> None:
    """Agree to honour a template, under the share that was read."""
    given = {"acceptor": merchant_id, "template": template_id, "percent": pays_percent, "now": now}
    if not rows_changed(session.execute(_AGREE, given)):
        raise NotAsked


def end(session: Session, *, merchant_id: int, template_id: int, acceptor_id: int, now: datetime) -> None:
    """Refuse, or take part no longer, from either side; what was redeemed is still owed."""
    given = {"merchant": merchant_id, "template": template_id, "acceptor": acceptor_id, "now": now}
    if not rows_changed(session.execute(_END, given)):
        raise NotFound


def partners(
    session: Session, *, merchant_id: int, template_id: int | None = None, asked_only: bool = False
) -> list[Partner]:
    """Who honours this merchant's templates and whose templates it honours, questions first."""
    rows = session.execute(_PARTNERS, {"merchant": merchant_id, "template": template_id, "asked_only": asked_only})
    return [Partner(*row) for row in rows]


_LOCK_TEMPLATE: Final = text("""
    SELECT id FROM coupon_template
    WHERE id = :template AND merchant_id = :merchant AND state <> 'ended' FOR UPDATE""")
_COUNT_PARTNERS: Final = text("""
    SELECT count(*) FROM coupon_acceptor
    WHERE template_id = :template AND acceptor_id <> :acceptor AND state <> 'ended'""")
_ASK: Final = text("""
    INSERT INTO coupon_acceptor (merchant_id, template_id, acceptor_id, state, pays_percent, most, asked_at)
    VALUES (:merchant, :template, :acceptor, 'asked', :percent, :most, :now)
    ON CONFLICT (template_id, acceptor_id) DO UPDATE SET
        state = CASE WHEN coupon_acceptor.state = 'agreed' AND coupon_acceptor.pays_percent = excluded.pays_percent
                     THEN 'agreed' ELSE 'asked' END,
        pays_percent = excluded.pays_percent, most = excluded.most, asked_at = excluded.asked_at,
        decided_at = CASE WHEN coupon_acceptor.pays_percent = excluded.pays_percent AND coupon_acceptor.state = 'agreed'
                          THEN coupon_acceptor.decided_at END
    WHERE CAST(:most AS integer) IS NULL OR coupon_acceptor.redeemed <= :most""")
_AGREE: Final = text("""
    UPDATE coupon_acceptor SET state = 'agreed', decided_at = :now
    WHERE template_id = :template AND acceptor_id = :acceptor AND state = 'asked' AND pays_percent = :percent""")
_END: Final = text("""
    UPDATE coupon_acceptor SET state = 'ended', decided_at = :now
    WHERE template_id = :template AND acceptor_id = :acceptor AND state <> 'ended'
      AND :merchant IN (merchant_id, acceptor_id)""")
_PARTNERS: Final = text("""
    SELECT a.template_id, t.public_id, t.name, a.merchant_id, i.name, a.acceptor_id, m.name, a.state, a.pays_percent,
           a.most, a.redeemed, a.asked_at, a.decided_at
    FROM coupon_acceptor a
    JOIN coupon_template t ON t.id = a.template_id
    JOIN merchant i ON i.id = a.merchant_id
    JOIN merchant m ON m.id = a.acceptor_id
    WHERE :merchant IN (a.merchant_id, a.acceptor_id)
      AND (CAST(:template AS bigint) IS NULL OR a.template_id = :template)
      AND (NOT :asked_only OR a.state = 'asked')
    ORDER BY a.state = 'asked' DESC, a.state = 'ended', a.template_id DESC, a.acceptor_id""")


# ---- What a redemption makes the issuer owe --------------------------------------------------------------------------


def take_place(session: Session, *, template_id: int, acceptor_id: int) -> int | None:
    """Use one of the redemptions that this merchant may make; what the issuer pays in percent, None if there is none.

    The statement that counts is the one that looks: of two tills the second finds the last place taken.
    """
    percent: int | None = session.execute(
        text("""
            UPDATE coupon_acceptor SET redeemed = redeemed + 1
            WHERE template_id = :template AND acceptor_id = :acceptor AND state = 'agreed'
              AND (most IS NULL OR redeemed < most)
            RETURNING pays_percent"""),
        {"template": template_id, "acceptor": acceptor_id},
    ).scalar()
    return percent


def give_place_back(session: Session, *, template_id: int, acceptor_id: int) -> None:
    """A redemption there was taken back."""
    session.execute(
        text("""
            UPDATE coupon_acceptor SET redeemed = redeemed - 1
            WHERE template_id = :template AND acceptor_id = :acceptor AND redeemed > 0"""),
        {"template": template_id, "acceptor": acceptor_id},
    )


def settle(session: Session, *, redemption_id: int, payer_id: int, earner_id: int, fen: int, now: datetime) -> None:
    """Note what the issuer owes for a redemption at another merchant's till. Nothing is no debt."""
    if fen <= 0:
        return
    _move(session, redemption_id=redemption_id, payer_id=payer_id, earner_id=earner_id, fen=fen, now=now)


def take_back(session: Session, *, redemption_id: int, now: datetime) -> None:
    """Answer what a redemption made the issuer owe with a transfer the other way, once; nothing is edited."""
    owed = session.execute(
        text("""
            SELECT t.payer_id, t.earner_id, e.fen FROM alliance_transfer t
            JOIN alliance_entry e ON e.transfer_id = t.id AND e.party_id = t.earner_id
            WHERE t.redemption_id = :redemption AND NOT t.is_reversal"""),
        {"redemption": redemption_id},
    ).one_or_none()
    if owed is not None:
        _move(
            session, redemption_id=redemption_id, payer_id=owed.payer_id, earner_id=owed.earner_id, fen=-owed.fen,
            now=now, is_reversal=True,
        )  # fmt: skip


def _move(
    session: Session,
    *,
    redemption_id: int,
    payer_id: int,
    earner_id: int,
    fen: int,
    now: datetime,
    is_reversal: bool = False,
) -> None:
    transfer_id = session.execute(
        text("""
            INSERT INTO alliance_transfer (redemption_id, is_reversal, payer_id, earner_id, at)
            VALUES (:redemption, :is_reversal, :payer, :earner, :now) RETURNING id"""),
        {
            "redemption": redemption_id, "is_reversal": is_reversal, "payer": payer_id, "earner": earner_id,
            "now": now,
        },
    ).scalar_one()  # fmt: skip
    session.execute(
        text("""
            INSERT INTO alliance_entry (transfer_id, party_id, fen)
            VALUES (:transfer, :payer, -CAST(:fen AS bigint)), (:transfer, :earner, :fen)"""),
        {"transfer": transfer_id, "payer": payer_id, "earner": earner_id, "fen": fen},
    )


# ---- The month's statement -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Owed:
    """What two merchants owe each other for one month, seen from `merchant_id`."""

    merchant_id: int
    merchant_name: str
    partner_id: int
    partner_name: str
    gets_fen: int
    """For the partner's coupons that were redeemed here."""
    gives_fen: int
    """For its own coupons that were redeemed there."""
    redemptions: int
    reversals: int

    @property
    def net_fen(self) -> int:
        """Above zero the partner pays, below zero this merchant does."""
        return self.gets_fen - self.gives_fen


@dataclass(frozen=True)
class Entry:
    """One redemption, or one taken back, behind a number of the statement."""

    transfer_id: int
    at: datetime
    is_reversal: bool
    redemption_id: int
    redeemed_at: datetime
    issuer_id: int
    issuer_name: str
    redeemer_id: int
    redeemer_name: str
    template_name: str
    bill_fen: int | None
    discount_fen: int
    fen: int
    """What the issuer owes the redeemer for it; below zero where it was taken back."""


def month_bounds(month: date) -> tuple[datetime, datetime]:
    """A Shanghai month, from its first moment until the next one's."""
    first = month.replace(day=1)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return start_of_day(first), start_of_day(after)


def statement(session: Session, *, month: date, merchant_id: int | None = None) -> list[Owed]:
    """Who owes whom for a month: a merchant's partners, or (under the platform) every pair from both sides."""
    since, until = month_bounds(month)
    rows = session.execute(_STATEMENT, {"merchant": merchant_id, "since": since, "until": until})
    return [Owed(*row) for row in rows]


def entries(
    session: Session,
    *,
    month: date,
    merchant_id: int | None = None,
    partner_id: int | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Entry]:
    """The redemptions behind a month's numbers, newest first."""
    since, until = month_bounds(month)
    rows = session.execute(
        _ENTRIES,
        {
            "merchant": merchant_id, "partner": partner_id, "since": since, "until": until, "before": before,
            "limit": limit,
        },
    )  # fmt: skip
    return [Entry(*row) for row in rows]


STATEMENT_HEADS: Final = (
    "时间", "类型", "发券的店", "核销的店", "优惠券", "账单（元）", "优惠（元）", "结算（分）", "核销编号",
)  # fmt: skip


def statement_rows(
    session: Session, *, month: date, merchant_id: int | None = None, partner_id: int | None = None
) -> Iterator[tuple[str | int | datetime, ...]]:
    """A month's redemptions as rows of a table, under `STATEMENT_HEADS`; what is owed in fen, to be summed."""
    before: int | None = None
    while found := entries(
        session, month=month, merchant_id=merchant_id, partner_id=partner_id, before=before, limit=LINES_AT_ONCE
    ):
        for one in found:
            yield (
                one.at.astimezone(SHANGHAI),
                "撤销" if one.is_reversal else "核销",
                one.issuer_name,
                one.redeemer_name,
                one.template_name,
                "" if one.bill_fen is None else _yuan(one.bill_fen),
                _yuan(one.discount_fen),
                one.fen,
                one.redemption_id,
            )
        before = found[-1].transfer_id


def _yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02d}"


_STATEMENT: Final = text("""
    WITH moved AS (
        SELECT t.payer_id, t.earner_id, t.is_reversal, e.fen
        FROM alliance_transfer t JOIN alliance_entry e ON e.transfer_id = t.id AND e.party_id = t.earner_id
        WHERE t.at >= :since AND t.at < :until
          AND (CAST(:merchant AS bigint) IS NULL OR :merchant IN (t.payer_id, t.earner_id))),
    sides AS (
        SELECT earner_id AS merchant_id, payer_id AS partner_id, fen AS gets, 0 AS gives, is_reversal FROM moved
        UNION ALL
        SELECT payer_id, earner_id, 0, fen, is_reversal FROM moved)
    SELECT s.merchant_id, m.name, s.partner_id, p.name, sum(s.gets)::bigint, sum(s.gives)::bigint,
           count(*) FILTER (WHERE NOT s.is_reversal), count(*) FILTER (WHERE s.is_reversal)
    FROM sides s JOIN merchant m ON m.id = s.merchant_id JOIN merchant p ON p.id = s.partner_id
    WHERE CAST(:merchant AS bigint) IS NULL OR s.merchant_id = :merchant
    GROUP BY s.merchant_id, m.name, s.partner_id, p.name
    ORDER BY s.merchant_id, s.partner_id""")
_ENTRIES: Final = text("""
    SELECT t.id, t.at, t.is_reversal, r.id, r.redeemed_at, t.payer_id, i.name, t.earner_id, m.name, c.name, r.bill_fen,
           r.discount_fen, e.fen
    FROM alliance_transfer t
    JOIN alliance_entry e ON e.transfer_id = t.id AND e.party_id = t.earner_id
    JOIN redemption r ON r.id = t.redemption_id
    JOIN coupon_template c ON c.id = r.template_id
    JOIN merchant i ON i.id = t.payer_id
    JOIN merchant m ON m.id = t.earner_id
    WHERE t.at >= :since AND t.at < :until
      AND (CAST(:merchant AS bigint) IS NULL OR :merchant IN (t.payer_id, t.earner_id))
      AND (CAST(:partner AS bigint) IS NULL OR :partner IN (t.payer_id, t.earner_id))
      AND (CAST(:before AS bigint) IS NULL OR t.id < :before)
    ORDER BY t.id DESC LIMIT :limit""")
