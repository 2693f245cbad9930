"""Processes that use coupons and points as phones and tills do, write down what they want and what they were answered,
and ask again with the same nonce where no answer came, even after their death."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from campaigns.coupons import giving, redeeming
from campaigns.coupons.models import Channel
from campaigns.points import exchange, rules
from core import nonces
from core.database import Role
from core.errors import BusinessError
from core.runtime import Runtime
from core.servers import ServerUrls
from core.settings import read_settings
from tests.campaigns.points.races import pauses
from tests.conftest import SECRET_KEY

YUAN: Final = 100
WANTS: Final = ("claim", "check_in", "exchange", "redeem", "redeem", "redeem", "undo", "take")
_RETRIED: Final = (nonces.UnderWay, giving.Busy)
PATIENCE_S: Final = 60
BETWEEN_S: Final = 0.03
"""What lies between a careless till's two transactions: a queue, or another service."""


@dataclass(frozen=True)
class Town:
    """Where and with whom it happens; told to every process."""

    home: Path
    urls: ServerUrls
    people: tuple[int, ...]
    owners: dict[int, int]
    """A shop's owner, by shop."""
    templates: tuple[int, ...]
    offer: int
    seed: int


Want = dict[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """One want, and the answer; None where none has come."""

    number: str
    want: Want
    answer: Answer | None


class Journal:
    """One process's own file. What was written stays, whoever is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, **line: Any) -> None:
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")

    def read(self) -> list[Told]:
        lines = [json.loads(line) for line in self._path.read_text().splitlines()] if self._path.exists() else []
        answers = {line["number"]: line["answer"] for line in lines if "answer" in line}
        return [Told(line["number"], line["want"], answers.get(line["number"])) for line in lines if "want" in line]


class Hands:
    """Each want is one transaction, under the role of whoever has it; repeated until there is an answer."""

    def __init__(self, town: Town, runtime: Runtime) -> None:
        self.town, self.runtime = town, runtime

    def get(self, number: str, want: Want) -> Answer:
        """What was answered; a refusal is an answer, too."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                given = {key: value for key, value in want.items() if key != "act"}
                found: Answer = getattr(self, want["act"])(number, **given)
                return found
            except _RETRIED:
                error: Exception | None = None
            except BusinessError as refusal:
                return {"refused": refusal.code}
            except (SQLAlchemyError, OSError) as broken:
                error = broken
            if time.monotonic() > deadline:
                raise AssertionError(f"no answer to {want}") from error
            time.sleep(0.03)

    def claim(self, number: str, who: int, template: int) -> Answer:
        with self.runtime.transaction(Role.FAN, follower_id=who) as session:
            given = giving.grant(
                session, template_id=template, follower_id=who, cause=f"page:{number}", channel=Channel.PAGE,
                now=self.runtime.now(),
            )  # fmt: skip
        return {"coupon": given.coupon_id, "public": given.public_id, "until": given.valid_to.isoformat()}

    def check_in(self, _number: str, who: int, shop: int) -> Answer:
        with self.runtime.transaction(Role.FAN, follower_id=who) as session:
            done = rules.check_in(session, merchant_id=shop, follower_id=who, now=self.runtime.now())
        return {"days": done.days}

    def exchange(self, number: str, who: int) -> Answer:
        with self.runtime.transaction(Role.FAN, follower_id=who) as session:
            done = exchange.exchange(
                session, offer_id=self.town.offer, follower_id=who, nonce=number, now=self.runtime.now()
            )
        return {"coupon": done.coupon.coupon_id, "points": done.points}

    def redeem(self, number: str, shop: int, shown: str, coupon: str, bill: int) -> Answer:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
            done = redeeming.redeem(
                session, self.runtime, merchant_id=shop, staff_id=self.town.owners[shop], shown=shown,
                coupon_public_id=coupon, bill_fen=bill, nonce=number, now=self.runtime.now(),
            )  # fmt: skip
        return done.answer()

    def undo(self, _number: str, shop: int, redemption: int) -> Answer:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
            done = redeeming.undo(
                session, merchant_id=shop, staff_id=self.town.owners[shop], redemption_id=redemption, reason="点错了",
                now=self.runtime.now(),
            )  # fmt: skip
        return {"redemption": done.redemption_id, "again": done.is_valid_again}

    def take(self, _number: str, who: int, token: str) -> Answer:
        with self.runtime.transaction(Role.FAN, follower_id=who) as session:
            given = giving.take_gift(session, follower_id=who, token=token, now=self.runtime.now())
        return {"coupon": given.coupon_id, "public": given.public_id, "until": given.valid_to.isoformat()}


class CarelessHands(Hands):
    """A till as they are usually built: it redeems, and then it pays the points. The control of the fault run."""

    def __init__(self, town: Town, runtime: Runtime) -> None:
        super().__init__(town, runtime)
        self._pay = redeeming._reward
        self._owed: list[dict[str, Any]] = []
        redeeming._reward = self._later  # type: ignore[assignment]  # only in this process

    def _later(self, _session: Session, **cause: Any) -> int:
        self._owed.append(cause)
        return 0

    def redeem(self, number: str, shop: int, shown: str, coupon: str, bill: int) -> Answer:
        self._owed.clear()
        answer = super().redeem(number, shop, shown, coupon, bill)
        for cause in self._owed:
            time.sleep(BETWEEN_S)
            with self.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
                self._pay(session, **cause)
        return answer


class Wishes:
    """What a process comes to want next, by a seed and what there is."""

    def __init__(self, town: Town, runtime: Runtime, chance: random.Random) -> None:
        self._town, self._runtime, self._chance = town, runtime, chance

    def next(self) -> Want | None:
        """None where there is nothing of the kind, or the database is away."""
        act, who = self._chance.choice(WANTS), self._chance.choice(self._town.people)
        shop = self._chance.choice(list(self._town.owners))
        want: Want | None = {"act": act, "who": who}
        try:
            match act:
                case "claim":
                    want = {"act": act, "who": who, "template": self._chance.choice(self._town.templates)}
                case "check_in":
                    want = {"act": act, "who": who, "shop": shop}
                case "redeem":
                    want = self._to_redeem(shop)
                case "undo":
                    found = self._one(_STANDING)
                    want = found and {"act": act, "shop": found.merchant_id, "redemption": found.id}
                case "take":
                    want = self._to_take(who)
        except (SQLAlchemyError, OSError):
            time.sleep(0.03)
            want = None
        return want

    def _to_redeem(self, shop: int) -> Want | None:
        coupon = self._one(_HELD)
        if coupon is None:
            return None
        with self._runtime.transaction(Role.FAN, follower_id=coupon.follower_id) as session:
            shown = redeeming.show_code(
                session, self._runtime, follower_id=coupon.follower_id, now=self._runtime.now()
            ).token
        bill = self._chance.randint(1, 90) * YUAN
        return {"act": "redeem", "shop": shop, "shown": shown, "coupon": coupon.public_id, "bill": bill}

    def _to_take(self, who: int) -> Want | None:
        coupon = self._one(_HELD)
        if coupon is None:
            return None
        with self._runtime.transaction(Role.FAN, follower_id=coupon.follower_id) as session:
            try:
                token = giving.offer_gift(
                    session, follower_id=coupon.follower_id, coupon_public_id=coupon.public_id, now=self._runtime.now()
                )
            except BusinessError:
                return None
        return {"act": "take", "who": who, "token": token}

    def _one(self, query: str) -> Any:
        """One of those, by chance."""
        with self._runtime.transaction(Role.PLATFORM) as session:
            return session.execute(text(query), {"salt": str(self._chance.random())}).one_or_none()


_HELD: Final = """
    SELECT public_id, follower_id FROM coupon WHERE state = 'issued' ORDER BY md5(id || :salt) LIMIT 1"""
_STANDING: Final = """
    SELECT id, merchant_id FROM redemption WHERE reversed_at IS NULL ORDER BY md5(id || :salt) LIMIT 1"""


def runtime_of(town: Town) -> Runtime:
    settings = read_settings(
        _env_file=None, quanma_home=town.home, secret_key=SECRET_KEY, database_url=town.urls.database_url,
        redis_url=town.urls.redis_url,
    )  # fmt: skip
    return Runtime.build(settings, town.urls)


def journal_of(town: Town, place: int) -> Journal:
    return Journal(town.home / f"shopper-{place}.journal")


def live(town: Town, place: int, life: int, hands: type[Hands]) -> None:
    """Until killed: first what the one before left without an answer, then what comes to mind."""
    log = os.open(town.home / f"shopper-{place}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    random.seed(f"{town.seed} {place} {life}")
    runtime, journal = runtime_of(town), journal_of(town, place)
    does = hands(town, runtime)
    wishes = Wishes(town, runtime, random.Random(f"{town.seed} wishes {place} {life}"))
    with pauses(runtime.database, Role.FAN, Role.MERCHANT):
        for told in unanswered(journal.read()):
            journal.write(number=told.number, answer=does.get(told.number, told.want))
        count = 0
        while True:
            want = wishes.next()
            if want is None:
                continue
            count += 1
            number = f"{place}.{life}.{count}"
            journal.write(number=number, want=want)
            journal.write(number=number, answer=does.get(number, want))


def unanswered(told: Iterable[Told]) -> list[Told]:
    return [one for one in told if one.answer is None]
