"""A street with shops that give coupons, and people who want them; below, rows alone for tests that need a coupon and
nothing of how it came to be."""

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import insert, text

from bot.inbox import Inbox
from campaigns.coupons import giving, templates
from campaigns.coupons.giving import Given
from campaigns.coupons.models import Channel, CouponTemplate
from campaigns.coupons.templates import Draft
from core.database import Role
from core.runtime import Runtime
from tests.community import Neighbourhood, new_openid, subscribed

WRITER: Final = 1
OPERATOR: Final = 2
_causes = itertools.count(1)


@dataclass
class Street:
    """Shops, people and coupons, with the platform's hands."""

    runtime: Runtime
    neighbourhood: Neighbourhood

    @classmethod
    def open(cls, runtime: Runtime) -> "Street":
        return cls(runtime, Neighbourhood(runtime))

    @property
    def now(self) -> datetime:
        return self.runtime.now()

    def shop(self, name: str = "茶馆") -> int:
        return self.neighbourhood.merchant(name)

    def person(self, status: str = "unknown") -> int:
        return self.people(1, status)[0]

    def people(self, count: int, status: str = "unknown") -> list[int]:
        """People the account has seen; that they follow is asked nowhere."""
        openids = [new_openid() for _ in range(count)]
        with self.runtime.transaction(Role.PLATFORM) as session:
            return list(
                session.execute(
                    text("""
                        INSERT INTO follower (account_id, openid, person_key, status, first_seen_at, last_seen_at)
                        SELECT :account, o, sha256(o::bytea), :status, :now, :now
                        FROM unnest(CAST(:openids AS text[])) o
                        RETURNING id"""),
                    {"account": self.neighbourhood.account_id, "openids": openids, "status": status, "now": self.now},
                ).scalars()
            )

    def fan(self, merchant_id: int) -> int:
        """Somebody who follows and has scanned this shop's code."""
        openid = new_openid()
        scene = self.neighbourhood.code(merchant_id, f"{openid[-6:]}号桌").scene
        at = self.now.replace(microsecond=0) - timedelta(hours=3)
        Inbox(self.runtime).receive([subscribed(openid, at, scene)])
        with self.runtime.transaction(Role.PLATFORM) as session:
            found = session.execute(text("SELECT id FROM follower WHERE openid = :openid"), {"openid": openid})
            return int(found.scalar_one())

    def draft(self, **fields: Any) -> Draft:
        """Twenty yuan off a hundred, for a month, unless told otherwise."""
        usual: dict[str, Any] = {"name": "满百减二十", "value_fen": 2_000, "min_spend_fen": 10_000}
        if not {"valid_from", "valid_to", "lasts_days"} & set(fields):
            usual["lasts_days"] = 30
        return Draft(**usual | fields)

    def written(self, merchant_id: int, **fields: Any) -> int:
        """A draft."""
        with self.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
            draft = self.draft(**fields)
            return templates.create(session, merchant_id=merchant_id, staff_id=WRITER, draft=draft, now=self.now)

    def live(self, merchant_id: int, **fields: Any) -> int:
        """A template the operator has agreed to."""
        template_id = self.written(merchant_id, **fields)
        with self.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
            templates.submit(session, merchant_id=merchant_id, template_id=template_id, now=self.now)
        self.approve(template_id)
        return template_id

    def approve(self, template_id: int) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            seen = session.get_one(CouponTemplate, template_id).submitted_at
            assert seen is not None
            templates.approve(session, template_id=template_id, operator_id=OPERATOR, seen=seen, now=self.now)

    def grant(
        self,
        template_id: int,
        follower_id: int,
        *,
        cause: str = "",
        channel: Channel = Channel.PAGE,
        now: datetime | None = None,
    ) -> Given:
        """A person takes one on the owner's pages, in a transaction of their own."""
        with self.runtime.transaction(Role.FAN, follower_id=follower_id) as session:
            return giving.grant(
                session, template_id=template_id, follower_id=follower_id, cause=cause or f"page:{next(_causes)}",
                channel=channel, now=now or self.now,
            )  # fmt: skip

    def template(self, template_id: int) -> CouponTemplate:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return session.get_one(CouponTemplate, template_id)

    def count(self, template_id: int) -> int:
        """How many coupons of a template there are."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            counted = text("SELECT count(*) FROM coupon WHERE template_id = :id")
            return int(session.execute(counted, {"id": template_id}).scalar_one())

    def state(self, coupon_id: int) -> str:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return str(session.scalar(text("SELECT state FROM coupon WHERE id = :id"), {"id": coupon_id}))

    def redeemed(self, given: Given, *, bill_fen: int | None = None, at: datetime | None = None) -> None:
        """What a till does, told by rows alone: one use of a coupon at its issuer's."""
        when = at or self.now
        with self.runtime.transaction(Role.PLATFORM) as session:
            staff_id = session.execute(
                text("""
                    INSERT INTO staff (merchant_id, name, role) VALUES (:merchant, '店员', 'clerk') RETURNING id"""),
                {"merchant": given.merchant_id},
            ).scalar_one()
            left = session.execute(
                text("""
                    UPDATE coupon SET uses_left = uses_left - 1,
                           state = CASE WHEN uses_left = 1 THEN 'redeemed' ELSE state END,
                           ended_at = CASE WHEN uses_left = 1 THEN CAST(:at AS timestamptz) END
                    WHERE id = :id RETURNING uses, uses_left"""),
                {"id": given.coupon_id, "at": when},
            ).one()
            session.execute(
                text("""
                    INSERT INTO redemption (merchant_id, issuer_id, coupon_id, template_id, follower_id, staff_id,
                                            use_no, bill_fen, discount_fen, is_first_here, redeemed_at)
                    VALUES (:merchant, :merchant, :coupon, :template, :follower, :staff, :use, :bill, 0, true, :at)"""),
                {"merchant": given.merchant_id, "coupon": given.coupon_id, "template": given.template_id,
                 "follower": given.follower_id, "staff": staff_id, "use": left.uses - left.uses_left,
                 "bill": bill_fen, "at": when},
            )  # fmt: skip


# ---- Rows alone ------------------------------------------------------------------------------------------------------


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
