"""What fault runs share: a seed, merchants with codes, and a system that comes to rest before it is judged."""

from __future__ import annotations

import os
import random
import secrets
from collections import Counter
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from core.database import Role
from core.runtime import Runtime
from tests.community import Neighbourhood
from tests.conftest import Live, responds, violations, wait_until
from tests.faults.nemesis import Nemesis
from tests.faults.platform import Platform, Stories
from tests.faults.verdict import Owners, judge

SEED = "QUANMA_FAULT_SEED"
PATIENCE_S = 90
"""An upper bound for whatever heals by itself, on a machine that is busy with other tests."""


@pytest.fixture
def chance() -> random.Random:
    """Chance from a seed that stands in the report of a failed test; give it back to see the same moments again."""
    seed = int(os.environ.get(SEED) or secrets.randbelow(2**32))
    print(f"{SEED}={seed}")
    return random.Random(seed)


@pytest.fixture
def nemesis(chance: random.Random) -> Nemesis:
    return Nemesis(chance)


def settle_merchants(runtime: Runtime) -> Owners:
    """Two new merchants with three codes."""
    street, sign = Neighbourhood(runtime), secrets.token_hex(4)
    a, b = street.merchant(f"茶馆{sign}"), street.merchant(f"面馆{sign}")
    codes = [street.code(a, "门口"), street.code(a, "柜台"), street.code(b, "门口")]
    return {code.scene: code.merchant_id for code in codes}


@dataclass
class Run:
    """One fault run against a live system."""

    live: Live
    owners: Owners
    platform: Platform
    nemesis: Nemesis
    chance: random.Random

    @classmethod
    def begin(cls, live: Live, nemesis: Nemesis, chance: random.Random) -> Run:
        """New merchants, and a platform that tells of people of its own."""
        platform = Platform(live.url, live.settings, chance)
        return cls(live, settle_merchants(live.runtime), platform, nemesis, chance)

    def stories(self) -> Stories:
        """Endless, for as long as harm is done."""
        return Stories(self.chance, list(self.owners))

    def rest(self) -> None:
        """No more faults: what ended is started again, as `quanma run` does, and what is owed gets done."""
        for program in self.live.programs.values():
            if program.process.poll() is not None:
                program.start()
        wait_until(lambda: responds(f"{self.live.url}/readyz"), seconds=PATIENCE_S, what="readiness")
        end_leases(self.live.runtime)
        try:
            wait_until_nothing_is_owed(self.live.runtime)
        except AssertionError:
            for name, program in self.live.programs.items():
                print(f"---- {name}\n{program.log.read_text(errors='replace')[-2000:]}")
            raise

    def judged(self) -> list[str]:
        """Everything that is wrong once all has come to rest. A run without faults or answers proves nothing."""
        self.rest()
        assert self.nemesis.deeds, "nothing went wrong in this run"
        assert self.platform.acknowledged, "nothing was acknowledged in this run"
        platform = self.platform
        print(
            f"{len(self.nemesis.deeds)} faults, {len(platform.sent)} events, {len(platform.acknowledged)} acknowledged"
        )
        print(f"{len(platform.failures)} deliveries failed: {Counter(platform.failures)}")
        found = violations(self.live.runtime.database)
        return judge(self.live.runtime, self.platform, self.owners) + [f"check {name}: {found[name]}" for name in found]


@pytest.fixture
def run(live: Live, nemesis: Nemesis, chance: random.Random) -> Run:
    """A run against the system of this module."""
    return Run.begin(live, nemesis, chance)


def end_leases(runtime: Runtime) -> None:
    """As if the pauses and leases of everybody who died had run out."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE outbox SET next_try_at = clock_timestamp() WHERE state = 'pending'"))
        session.execute(text("UPDATE lease SET expires_at = clock_timestamp()"))


def owed(runtime: Runtime) -> list[str]:
    """Tasks that are neither done nor given up."""
    with runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(
            text("SELECT kind, queue, attempts, last_error, next_try_at FROM outbox WHERE state = 'pending'")
        )
        return [" ".join(map(str, row)) for row in rows]


def wait_until_nothing_is_owed(runtime: Runtime) -> None:
    try:
        wait_until(lambda: not owed(runtime), seconds=PATIENCE_S, what="an empty outbox")
    except AssertionError:
        print("still owed:", *owed(runtime), sep="\n")
        raise
