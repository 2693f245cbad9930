"""A shop that gives points, and people who earn and spend them; every step in a transaction of its own."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import text

from campaigns.points import ledger, rules
from campaigns.points.ledger import Balance, Cause, Moved, Reversed
from campaigns.points.models import RuleTrigger
from campaigns.points.rules import Paid, Rule
from core.database import Role
from core.runtime import Runtime
from tests.community import Neighbourhood

CHECK_IN = Rule(RuleTrigger.CHECK_IN, points=5, most_per_person=5, most_per_day=10_000)
SPEND = Rule(RuleTrigger.SPEND, points=1, per_fen=100, most_per_person=500, most_per_day=10_000)
_numbers = itertools.count(1)


class Till:
    """One shop."""

    def __init__(self, runtime: Runtime, name: str = "茶馆") -> None:
        self.runtime = runtime
        self.street = Neighbourhood(runtime)
        self.id = self.street.merchant(name)
        self.now: datetime = self.street.now

    def crowd(self, people: int, points: int = 0, *, vests_in: int | None = None) -> list[int]:
        """Several at once, each with so many points."""
        crowd = [self.person() for _ in range(people)]
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            held = ledger.hold(session, merchant_id=self.id, follower_ids=crowd)
            for who in held if points else ():
                ledger.earn(
                    session,
                    merchant_id=self.id,
                    follower_id=who,
                    points=points,
                    cause=Cause("test", next(_numbers)),
                    now=self.now,
                    vests_at=None if vests_in is None else self.now + timedelta(days=vests_in),
                    expires_at=ledger.expiry(self.now, 30),
                )
        return crowd

    def person(self) -> int:
        """Somebody who opened the owners' pages."""
        number = next(_numbers)
        with self.runtime.transaction(Role.PLATFORM) as session:
            return int(
                session.execute(
                    text("""
                        INSERT INTO follower (account_id, openid, person_key, status, state_as_of, first_seen_at,
                                              last_seen_at)
                        VALUES (:account, :openid, :key, 'unknown', :now, :now, :now) RETURNING id"""),
                    {
                        "account": self.street.account_id,
                        "openid": f"oTill{number:023d}",
                        "key": number.to_bytes(32, "big"),
                        "now": self.now,
                    },
                ).scalar_one()
            )

    def later(self, **by: float) -> None:
        """Let time pass for this shop."""
        self.now += timedelta(**by)

    def earn(
        self, who: int, points: int, number: int | None = None, *, vests_in: int | None = None, lives: int | None = 365
    ) -> Moved:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            return ledger.earn(
                session,
                merchant_id=self.id,
                follower_id=who,
                points=points,
                cause=Cause("test", number or next(_numbers)),
                now=self.now,
                vests_at=None if vests_in is None else self.now + timedelta(days=vests_in),
                expires_at=ledger.expiry(self.now, lives),
            )

    def spend(self, who: int, points: int, number: int | None = None) -> Moved:
        """As the owner's page does it."""
        with self.runtime.transaction(Role.FAN, follower_id=who) as session:
            return ledger.spend(
                session,
                merchant_id=self.id,
                follower_id=who,
                points=points,
                cause=Cause("exchange", number or next(_numbers)),
                now=self.now,
            )

    def reverse(self, moved: Moved) -> Reversed:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            return ledger.reverse(session, merchant_id=self.id, transfer_id=moved.transfer_id, now=self.now)

    def jobs(self) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            ledger.vest_due(session, self.now)
            ledger.expire_due(session, self.now)

    def balance(self, who: int) -> Balance:
        with self.runtime.transaction(Role.FAN, follower_id=who) as session:
            return ledger.balance_of(session, merchant_id=self.id, follower_id=who, now=self.now)

    def has(self, who: int) -> tuple[int, int, int]:
        """To spend, on its way, owed."""
        found = self.balance(who)
        return found.points, found.pending, found.debt

    def rule(self, rule: Rule, **other: object) -> Rule:
        wanted = replace(rule, **other)  # type: ignore[arg-type]
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            rules.save(session, merchant_id=self.id, rule=wanted, now=self.now)
        return wanted

    def bill(self, who: int, fen: int, number: int | None = None) -> Paid | None:
        """A bill that the staff typed in."""
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            return rules.pay(
                session,
                merchant_id=self.id,
                follower_id=who,
                trigger=RuleTrigger.SPEND,
                source_type="bill",
                source_id=number or next(_numbers),
                bill_fen=fen,
                now=self.now,
            )

    def take_back(self, number: int) -> int:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            return rules.take_back(session, merchant_id=self.id, source_type="bill", source_id=number, now=self.now)
