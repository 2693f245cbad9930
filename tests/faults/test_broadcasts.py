"""Broadcasts while everything dies around them: at most once, never over four, and nothing forgotten (BC-1 … BC-17).

The judge (`sending_verdict.py`) reads the platform's own log. `make soak` runs the large one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.broadcasting import CUSTOM, MASS
from tests.faults.nemesis import Nemesis
from tests.faults.senders import Scale, SendingRun, sending_system
from tests.faults.sending_verdict import Call, Evidence, Halt, Row, judge

SOAK = "QUANMA_SOAK"
STORMS = (45009, -1, 40001)

SMALL = Scale(
    asking=480, others=40, batch=10, workers=2, kills=4, mass_kills=2, storms=STORMS, pauses=1, loses_servers=True,
    window_ms=1_000, mass_ms=2_000, every=(0.1, 0.5), is_hurried=True, patience_s=120,
)  # fmt: skip
LARGE = Scale(
    asking=7_000, others=1_500, batch=100, workers=4, kills=26, mass_kills=10, storms=STORMS * 2, pauses=4,
    loses_servers=True, window_ms=1_000, mass_ms=5_000, every=(0.3, 1.2), is_hurried=False, patience_s=600,
)  # fmt: skip

Runs = Callable[[Scale], SendingRun]


@pytest.fixture
def run(test_home: Path, worker_number: int, nemesis: Nemesis, chance: random.Random) -> Iterator[Runs]:
    """Runs a whole fault run; its system lives until the test has looked at it."""
    with ExitStack() as stack:

        def one(scale: Scale) -> SendingRun:
            folder = test_home / f"sending-{worker_number}-{chance.randrange(10**6)}"
            folder.mkdir(mode=0o755)
            going = SendingRun(stack.enter_context(sending_system(folder, scale)), scale, chance, nemesis)
            going.prepare()
            going.begin()
            going.suffer()
            going.rest()
            return going

        yield one


def test_a_broadcast_reaches_nobody_twice_whatever_dies(run: Runs) -> None:
    done = run(SMALL)
    # One death may cost as many as were in flight, which of so few is more than one in a hundred (BC-13).
    in_flight = sum(one.windows for one in done.kills if one.way != "parent")
    assert done.judged(never_seen=in_flight) == []
    assert {"pause", "redis wiped", "postgres restarted", *(f"storm of {one}" for one in STORMS)} <= done.deeds


def test_a_sender_that_tries_again_is_seen(run: Runs) -> None:
    """The control: the same run with what was not confirmed sent again."""
    fewer = replace(SMALL, asking=150, others=20, storms=(), pauses=0, loses_servers=False, kills=2, mass_kills=1)
    wrong = run(replace(fewer, module="tests.faults.careless")).judged()
    assert any(sentence.startswith("accepted 2 times") for sentence in wrong)


@pytest.mark.skipif(not os.environ.get(SOAK), reason=f"takes minutes; make soak, or {SOAK}=1")
def test_twenty_thousand_recipients(run: Runs) -> None:
    done = run(LARGE)
    assert done.judged() == []
    assert done.scale.recipients == 20_000
    assert len(done.kills) >= 30
    assert done.deaths("windows") >= 15
    assert done.deaths("batches") >= 8


# ---- The judge, tried without a run ----------------------------------------------------------------------------------


def told(number: int, *, at: float = 100.0, is_accepted: bool = True) -> Call:
    """One customer-service message."""
    return Call(CUSTOM, at - 0.5, at, "2026-11", (f"o{number}",), "新茶", is_accepted)


def told_many(number: int, openids: Sequence[str]) -> Call:
    """One mass message, of another broadcast each."""
    return Call(
        MASS, 99.0, 100.0, "2026-11", tuple(openids), f"第{number}条", is_accepted=True, clientmsgid=f"qm{number}"
    )


def kept(call: Call, state: str = "sent", *, route: str = "window") -> list[Row]:
    """What we would have of a call."""
    return [Row(one, route, state, "here:1:a", call.clientmsgid) for one in call.told]


def test_the_judge_has_nothing_to_say_about_a_good_run() -> None:
    calls = [told(number) for number in range(32)] + [told_many(number, ["o1", "o2"]) for number in range(4)]
    rows = [row for call in calls[:31] for row in kept(call)] + kept(calls[31], "unknown")
    rows += [row for call in calls[32:] for row in kept(call, route="mass")]
    owners = [replace(row, owner=f"here:{place // 8}:a") for place, row in enumerate(rows)]
    assert judge(Evidence(calls, owners, [Halt("新茶", 50.0, 90.0), Halt(None, 99.0, 110.0)])) == []


@pytest.mark.parametrize(
    ("calls", "rows", "halts", "sentence"),
    [
        ([told(1), told(1)], kept(told(1)), [], "accepted 2 times"),
        ([told(1)], [], [], "accepted for nobody"),
        ([], kept(told(1), "calling"), [], "not at its end"),
        ([told(1, is_accepted=False)], kept(told(1)), [], "sent, and never accepted"),
        ([told(1)], kept(told(1), "skipped"), [], "skipped, and yet accepted"),
        ([told(1)], kept(told(1), "cancelled"), [], "cancelled, and yet accepted"),
        ([told(1)], kept(told(1)), [Halt("新茶", 97.0, 110.0)], "after the stop"),
        ([told(1, is_accepted=False)], kept(told(1), "unknown"), [Halt(None, 97.0, 110.0)], "after the stop"),
        ([], kept(told(1), "unknown"), [], "1 of 1 are unknown"),
        (
            [told_many(1, ["o1", "o2"])],
            kept(told_many(1, ["o1", "o2"]), "unknown", route="mass"),
            [],
            "unknown, though it can be asked for",
        ),
        (
            [told(number) for number in range(33)],
            [row for number in range(33) for row in kept(told(number))],
            [],
            "33 in flight",
        ),
        (
            [told_many(number, ["o1", "o2"]) for number in range(5)],
            [row for number in range(5) for row in kept(told_many(number, ["o1", "o2"]), route="mass")],
            [],
            "5 mass messages in 2026-11 for o1",
        ),
    ],
)
def test_the_judge_sees(calls: list[Call], rows: list[Row], halts: list[Halt], sentence: str) -> None:
    assert any(wrong.startswith(sentence) for wrong in judge(Evidence(calls, rows, halts)))
