"""A street with shops that give coupons, and people who want them."""

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text

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
