"""A shop with a till: its staff, its coupons, and people who show their codes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text

from campaigns.coupons import alliance, giving, redeeming
from campaigns.coupons.giving import Given
from campaigns.coupons.models import Channel
from campaigns.coupons.redeeming import Card, Redeemed, Shown, Undone, Visited
from campaigns.points import rules
from campaigns.points.models import RuleTrigger
from campaigns.points.rules import Rule
from core.database import Role
from core.runtime import Runtime
from tests.community import Neighbourhood, new_openid

_numbers = itertools.count(1)
YUAN: Final = 100

_TEMPLATE = text("""
    INSERT INTO coupon_template (merchant_id, public_id, name, kind, value_fen, percent_off, uses, worth_fen,
        min_spend_fen, valid_from, valid_to, lasts_days, weekdays, hours, per_person, first_only, stock, budget_fen,
        state, review)
    VALUES (:merchant, :public_id, :name, :kind, :value_fen, :percent_off, :uses, :value_fen, :min_spend_fen,
        :valid_from, :valid_to, :lasts_days, :weekdays, CAST(:hours AS jsonb), 100, :first_only, 100000, 1000000000,
        'live', 'approved')
    RETURNING id""")


@dataclass
class Shop:
    """One merchant; every step is a transaction of its own, under the role of whoever takes it."""

    runtime: Runtime
    street: Neighbourhood
    id: int
    clerk: int
    owner: int

    @classmethod
    def open(cls, runtime: Runtime, name: str = "茶馆", street: Neighbourhood | None = None) -> Shop:
        street = street or Neighbourhood(runtime)
        merchant_id = street.merchant(name)
        with runtime.transaction(Role.PLATFORM) as session:
            add = text("INSERT INTO staff (merchant_id, name, role) VALUES (:merchant, :name, :role) RETURNING id")
            clerk, owner = (
                session.execute(add, {"merchant": merchant_id, "name": f"{name}{role}", "role": role}).scalar_one()
                for role in ("clerk", "owner")
            )
        return cls(runtime, street, merchant_id, clerk, owner)

    def neighbour(self, name: str = "面馆") -> Shop:
        return Shop.open(self.runtime, name, self.street)

    @property
    def now(self) -> datetime:
        return self.runtime.now()

    def person(self) -> int:
        openid = new_openid()
        with self.runtime.transaction(Role.PLATFORM) as session:
            return int(
                session.execute(
                    text("""
                        INSERT INTO follower (account_id, openid, person_key, first_seen_at, last_seen_at)
                        VALUES (:account, :openid, sha256(convert_to(CAST(:openid AS text), 'UTF8')), :now, :now)
                        RETURNING id"""),
                    {"account": self.street.account_id, "openid": openid, "now": self.now},
                ).scalar_one()
            )

    def template(self, **fields: Any) -> int:
        """Twenty yuan off, for a month, unless told otherwise."""
        usual: dict[str, Any] = {
            "name": "立减二十", "kind": "amount", "value_fen": 20 * YUAN, "percent_off": None, "uses": 1,
            "min_spend_fen": 0, "valid_from": None, "valid_to": None, "weekdays": 127, "hours": "[]",
            "first_only": False,
        }  # fmt: skip
        given = {**usual, **fields}
        given.setdefault("lasts_days", None if given["valid_to"] else 30)
        with self.runtime.transaction(Role.PLATFORM) as session:
            new = {**given, "merchant": self.id, "public_id": f"t{self.id}n{next(_numbers)}"}
            return int(session.execute(_TEMPLATE, new).scalar_one())

    def give(self, follower_id: int, template_id: int | None = None, **fields: Any) -> Given:
        """A coupon of this shop in somebody's hands."""
        wanted = template_id or self.template(**fields)
        with self.runtime.transaction(Role.FAN, follower_id=follower_id) as session:
            return giving.grant(
                session, template_id=wanted, follower_id=follower_id, cause=f"page:{next(_numbers)}",
                channel=Channel.PAGE, now=self.now,
            )  # fmt: skip

    def rule(self, trigger: RuleTrigger, points: int, per_fen: int | None = None, **options: Any) -> None:
        rule = Rule(
            trigger, points, **{"most_per_person": 100_000, "most_per_day": 1_000_000, **options}, per_fen=per_fen
        )
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            rules.save(session, merchant_id=self.id, rule=rule, now=self.now)

    def take(self, template_id: int, by: Shop, *, pays_percent: int = 100, most: int | None = None) -> None:
        """Ask another shop to honour a template, which it agrees to."""
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            alliance.ask(
                session, merchant_id=self.id, template_id=template_id, acceptor_id=by.id, pays_percent=pays_percent,
                most=most, now=self.now,
            )  # fmt: skip
        with self.runtime.transaction(Role.MERCHANT, merchant_id=by.id) as session:
            alliance.agree(session, merchant_id=by.id, template_id=template_id, pays_percent=pays_percent, now=self.now)

    # ---- at the till ----

    def show(self, follower_id: int, *, coupon_id: int | None = None, at: datetime | None = None) -> Shown:
        return show(self.runtime, follower_id, coupon_id=coupon_id, at=at)

    def look(self, shown: str, *, staff: int | None = None, at: datetime | None = None) -> Card:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            return redeeming.look_up(
                session, self.runtime, merchant_id=self.id, staff_id=staff or self.clerk, shown=shown,
                now=at or self.now,
            )  # fmt: skip

    def redeem(
        self,
        shown: str,
        coupon: Given | str,
        *,
        bill: int | None = None,
        nonce: str | None = None,
        staff: int | None = None,
        at: datetime | None = None,
    ) -> Redeemed:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            return redeeming.redeem(
                session, self.runtime, merchant_id=self.id, staff_id=staff or self.clerk, shown=shown,
                coupon_public_id=coupon if isinstance(coupon, str) else coupon.public_id, bill_fen=bill,
                nonce=nonce if nonce is not None else f"nonce-{next(_numbers)}", now=at or self.now,
            )  # fmt: skip

    def use(self, coupon: Given, *, bill: int | None = None, at: datetime | None = None) -> Redeemed:
        """The holder shows the code and the staff redeems."""
        shown = self.show(coupon.follower_id, at=at)
        return self.redeem(shown.token, coupon, bill=bill, at=at)

    def reserve(
        self, shown: str, coupon: Given, *, at: datetime | None = None, held: timedelta = redeeming.HELD
    ) -> datetime:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            return redeeming.reserve(
                session, self.runtime, merchant_id=self.id, staff_id=self.clerk, shown=shown,
                coupon_public_id=coupon.public_id, now=at or self.now, held=held,
            )  # fmt: skip

    def release(self, coupon: Given) -> None:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            redeeming.release(session, merchant_id=self.id, coupon_public_id=coupon.public_id)

    def undo(
        self, redemption_id: int, *, staff: int | None = None, reason: str = "点错了", at: datetime | None = None
    ) -> Undone:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            return redeeming.undo(
                session, merchant_id=self.id, staff_id=staff or self.clerk, redemption_id=redemption_id, reason=reason,
                now=at or self.now,
            )  # fmt: skip

    def visit(
        self, shown: str, *, bill: int | None = None, nonce: str | None = None, at: datetime | None = None
    ) -> Visited:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            return redeeming.record_visit(
                session, self.runtime, merchant_id=self.id, staff_id=self.clerk, shown=shown, bill_fen=bill,
                nonce=nonce or f"nonce-{next(_numbers)}", now=at or self.now,
            )  # fmt: skip

    # ---- what is in the database ----

    def points(self, follower_id: int) -> int:
        return int(
            one(self.runtime, """
                SELECT coalesce(sum(balance), 0) FROM points_account
                WHERE merchant_id = :shop AND follower_id = :who""", shop=self.id, who=follower_id)
        )  # fmt: skip

    def owed(self) -> int:
        """What the alliance's ledger says this shop gets."""
        return int(
            one(self.runtime, "SELECT coalesce(sum(fen), 0) FROM alliance_entry WHERE party_id = :id", id=self.id)
        )

    def state(self, coupon: Given) -> tuple[str, int]:
        found = row(self.runtime, "SELECT state, uses_left FROM coupon WHERE id = :id", id=coupon.coupon_id)
        return found.state, found.uses_left


def show(runtime: Runtime, follower_id: int, *, coupon_id: int | None = None, at: datetime | None = None) -> Shown:
    """What somebody's phone shows."""
    with runtime.transaction(Role.FAN, follower_id=follower_id) as session:
        return redeeming.show_code(
            session, runtime, follower_id=follower_id, coupon_id=coupon_id, now=at or runtime.now()
        )


def row(runtime: Runtime, query: str, **values: Any) -> Any:
    """One row, as the platform sees it."""
    with runtime.transaction(Role.PLATFORM) as session:
        return session.execute(text(query), values).one()


def one(runtime: Runtime, query: str, **values: Any) -> Any:
    """One value, as the platform sees it."""
    return row(runtime, query, **values)[0]
