"""Coupon templates for tests that need one that is given, and nothing of how it came to be."""

from typing import Any

from sqlalchemy import insert, text

from campaigns.coupons.models import CouponTemplate
from core.database import Role
from core.runtime import Runtime


def live_template(
    runtime: Runtime, merchant_id: int, name: str = "八折券", *, state: str = "live", **values: Any
) -> int:
    """A template that the operator has agreed to. Returns its id."""
    given: dict[str, Any] = {
        "merchant_id": merchant_id, "name": name, "public_id": runtime.new_code(12), "kind": "gift", "worth_fen": 800,
        "lasts_days": 30, "stock": 100, "budget_fen": 80_000, "state": state, "review": "approved", "reviewed_by": 1,
        "reviewed_at": runtime.now(), "submitted_at": runtime.now(), **values,
    }  # fmt: skip
    with runtime.transaction(Role.PLATFORM) as session:
        new = insert(CouponTemplate).values(given).returning(CouponTemplate.id)
        return int(session.execute(new).scalar_one())


def set_state(runtime: Runtime, template_id: int, state: str) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE coupon_template SET state = :state WHERE id = :id"), {"state": state, "id": template_id}
        )


def hold(runtime: Runtime, template_id: int, follower_id: int, *, cause: str = "page", channel: str = "page") -> int:
    """A coupon of somebody's, as the grant call leaves it. Returns its id."""
    with runtime.transaction(Role.PLATFORM) as session:
        coupon_id = session.execute(
            text("""
                WITH given AS (
                    UPDATE coupon_template SET issued = issued + 1, committed_fen = committed_fen + worth_fen
                    WHERE id = :template RETURNING id, merchant_id, worth_fen)
                INSERT INTO coupon (merchant_id, template_id, public_id, follower_id, seq, cause, channel, worth_fen,
                    uses, uses_left, valid_from, valid_to)
                SELECT merchant_id, id, :public_id, :follower,
                       (SELECT count(*) + 1 FROM coupon WHERE template_id = :template AND follower_id = :follower),
                       :cause, :channel, worth_fen, 1, 1,
                       app_now() - interval '400 days', app_now() + interval '30 days'
                FROM given RETURNING id"""),
            {"template": template_id, "public_id": runtime.new_code(16), "follower": follower_id, "cause": cause,
             "channel": channel},
        ).scalar_one()  # fmt: skip
        return int(coupon_id)


def redeem(runtime: Runtime, coupon_id: int, *, days_ago: int = 0, reversed_: bool = False) -> int:
    """One use of it at its issuer's till."""
    with runtime.transaction(Role.PLATFORM) as session:
        number = session.execute(
            text("""
                WITH till AS (
                    INSERT INTO staff (merchant_id, name, role, login, password_hash)
                    SELECT merchant_id, '店员', 'clerk', 'till' || gen_random_uuid(), 'x' FROM coupon WHERE id = :id
                    RETURNING id),
                used AS (
                    UPDATE coupon SET state = 'redeemed', uses_left = 0, ended_at = app_now() WHERE id = :id
                    RETURNING merchant_id, template_id, follower_id)
                INSERT INTO redemption (merchant_id, issuer_id, coupon_id, template_id, follower_id, staff_id, use_no,
                    discount_fen, is_first_here, redeemed_at)
                SELECT u.merchant_id, u.merchant_id, :id, u.template_id, u.follower_id, till.id, 1, 800, true,
                       app_now() - make_interval(days => :days)
                FROM used u, till RETURNING id"""),
            {"id": coupon_id, "days": days_ago},
        ).scalar_one()
        if reversed_:
            session.execute(
                text("""
                    INSERT INTO redemption_reversal (redemption_id, merchant_id, staff_id, reason, is_valid_again)
                    SELECT id, merchant_id, staff_id, '弄错了', true FROM redemption WHERE id = :id"""),
                {"id": number},
            )
            session.execute(
                text("""
                    UPDATE redemption r SET reversed_at = v.reversed_at
                    FROM redemption_reversal v WHERE r.id = :id AND v.redemption_id = r.id"""),
                {"id": number},
            )
            session.execute(
                text("UPDATE coupon SET state = 'issued', uses_left = 1, ended_at = NULL WHERE id = :id"),
                {"id": coupon_id},
            )
        return int(number)
