"""A fault run of coupons and points: phones and tills that die, connections that break and a server that crashes."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from campaigns.points import exchange
from campaigns.points.models import RuleTrigger
from core import migrate
from core.database import Database, Role
from core.servers import ServerUrls, embedded_servers
from core.settings import read_settings
from tests.campaigns.coupons.shop import Shop
from tests.conftest import SECRET_KEY, Cleaner, set_to_noon, wait_until
from tests.couponing import Street
from tests.faults.benefits_verdict import CHECK_IN_PAYS, SHARE, ask_all_again, judge
from tests.faults.conftest import PATIENCE_S
from tests.faults.nemesis import Deed, Nemesis, backends, kill, postmaster
from tests.faults.shoppers import YUAN, CarelessHands, Hands, Told, Town, journal_of, live, runtime_of, unanswered

SOAK = "QUANMA_SOAK"
PLACES = 4
PEOPLE = 12
SCARCE = 30


@pytest.fixture(scope="module")
def home(test_home: Path, worker_number: int) -> Path:
    """Servers of our own, which nobody else misses when they die."""
    return test_home / f"benefits-{worker_number}"


@pytest.fixture(scope="module")
def urls(home: Path) -> Iterator[ServerUrls]:
    with embedded_servers(read_settings(_env_file=None, quanma_home=home, secret_key=SECRET_KEY)) as found:
        database = Database(found.database_url, SECRET_KEY, pooled=False)
        migrate.upgrade(database, SECRET_KEY)
        yield found


def settle(home: Path, urls: ServerUrls, seed: int) -> Town:
    """A tea shop that gives coupons, sells them for points and has few of one; a noodle shop that honours all."""
    plain = Town(home, urls, (), {}, (), 0, seed)
    runtime = runtime_of(plain)
    set_to_noon(runtime)
    street = Street.open(runtime)
    tea = Shop.open(runtime, street=street.neighbourhood)
    noodles = tea.neighbour()
    usual = {"min_spend_fen": 0, "budget_fen": 10_000_000, "per_person": 20, "is_transferable": True}
    templates = [
        street.live(tea.id, **usual, stock=stock, name=name)
        for name, stock in (("立减二十", 5_000), ("开业限量", SCARCE))
    ]
    bought = street.live(tea.id, **usual, stock=5_000, name="积分换券", is_public=False)
    for template in (*templates, bought):
        tea.take(template, noodles, pays_percent=SHARE)
    for shop in (tea, noodles):
        shop.rule(RuleTrigger.SPEND, 1, YUAN)
        shop.rule(RuleTrigger.CHECK_IN, CHECK_IN_PAYS)
    with runtime.transaction(Role.MERCHANT, merchant_id=tea.id) as session:
        offer = exchange.add(session, merchant_id=tea.id, template_id=bought, price=20, stock=2_000, per_person=100).id
    people = tuple(street.people(PEOPLE))
    runtime.database.dispose()
    owners = {shop.id: shop.owner for shop in (tea, noodles)}
    return Town(home, urls, people, owners, tuple(templates), offer, seed)


@dataclass
class Benefits:
    """One run: who acts, and what befalls them."""

    town: Town
    hands: type[Hands]
    chance: random.Random
    nemesis: Nemesis
    shoppers: list[BaseProcess] = field(default_factory=list)
    lives: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", "pytest", "tests.faults.shoppers"])

    def begin(self, place: int) -> BaseProcess:
        self.lives[place] += 1
        born = self._context.Process(target=live, args=(self.town, place, self.lives[place], self.hands), daemon=True)
        born.start()
        return born

    # What befalls them

    def one_dies(self) -> None:
        place = self.chance.randrange(PLACES)
        self.end(place)
        self.shoppers[place] = self.begin(place)

    def all_die(self) -> None:
        for place in range(PLACES):
            self.end(place)
        self.shoppers = [self.begin(place) for place in range(PLACES)]

    def end(self, place: int) -> None:
        self.shoppers[place].kill()
        self.shoppers[place].join()

    def connections_break(self) -> None:
        for role in (Role.FAN, Role.MERCHANT):
            for backend in backends(self.town.home, role.value):
                kill(backend, signal.SIGTERM)

    def server_crashes(self) -> None:
        """Its keeper starts it again."""
        kill(postmaster(self.town.home), self.chance.choice([signal.SIGQUIT, signal.SIGKILL]))

    # The run

    def told(self) -> list[Told]:
        return [one for place in range(PLACES) for one in journal_of(self.town, place).read()]

    def answered(self) -> list[Told]:
        return [one for one in self.told() if one.answer is not None]

    def wait_for(self, answers: int) -> None:
        """However slow the machine is, something goes on between two faults."""
        wanted = len(self.answered()) + answers
        wait_until(lambda: len(self.answered()) >= wanted, seconds=PATIENCE_S, what="life after a fault")

    def go(self, deeds: list[Deed]) -> list[Told]:
        """All of the deeds in an order by chance; at the end everybody is killed at work."""
        self.chance.shuffle(deeds)
        self.shoppers = [self.begin(place) for place in range(PLACES)]
        try:
            for deed in deeds:
                self.wait_for(self.chance.randint(4, 16))
                self.nemesis.strike([deed], times=1, every=(0.0, 0.1))
            self.wait_for(8)
        finally:
            for place in range(PLACES):
                self.end(place)
        return self.told()

    def judged(self, told: list[Told]) -> list[str]:
        runtime = runtime_of(self.town)
        try:
            final, wrong = ask_all_again(Hands(self.town, runtime), told)
            return wrong + judge(runtime, self.town, final)
        finally:
            runtime.database.dispose()


Runs = Callable[[type[Hands]], Benefits]


@pytest.fixture
def street(home: Path, urls: ServerUrls, chance: random.Random, nemesis: Nemesis) -> Iterator[Runs]:
    """A run on an empty street."""
    cleaner = Cleaner(urls.database_url)
    yield lambda hands: Benefits(settle(home, urls, chance.randrange(2**32)), hands, chance, nemesis)
    for journal in home.glob("*.journal"):
        journal.unlink()
    cleaner.clean()


def test_whatever_dies_what_was_answered_is_so(street: Runs) -> None:
    run = street(Hands)
    told = run.go(deeds_of(run, times=10 if os.environ.get(SOAK) else 1))
    wrong = run.judged(told)
    acts = Counter(one.want["act"] for one in told if one.answer is not None and "refused" not in one.answer)
    print(f"{Counter(run.nemesis.deeds)}; {len(told)} wants, {len(unanswered(told))} without an answer; {acts}")
    assert wrong == []
    assert set(acts) == {"claim", "check_in", "exchange", "redeem", "undo", "take"}


def deeds_of(run: Benefits, *, times: int = 1) -> list[Deed]:
    return [*[run.one_dies] * 6, *[run.all_die] * 6, *[run.connections_break] * 4, run.server_crashes] * times


@pytest.mark.plants_violation
def test_points_in_a_transaction_of_their_own_are_seen(street: Runs) -> None:
    """The control: the same run with a till that redeems first and pays then."""
    run = street(CarelessHands)
    wrong = run.judged(run.go(deeds_of(run)))
    print(f"{len(wrong)} sentences, such as {wrong[:2]}")
    assert any(sentence.startswith("points of") for sentence in wrong), wrong
