"""Conversation: what people do in the scripted conversations, at 100 events a second, through the running system.

The whole system runs against the platform in a box, in the town of `tests/conversations/`. Every script is held by
people nobody has met before, all scripts at the same time, each person's words in their order. An event sets off when
it is due, whether or not those before it were answered (an open loop), and its time counts from that moment until the
answer is back on the phone.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click

from benchmarks.machine import describe
from core.database import Database
from core.migrate import upgrade
from core.servers import EmbeddedServers
from core.settings import read_settings
from sandbox.scripts import Script, read
from tests.conftest import SECRET_KEY, Live, live_system
from tests.conversations.town import Town

SCRIPTS = Path(__file__).parents[1] / "tests" / "conversations"
LEFT_OUT = frozenset({"human"})
"""While a clerk has somebody, the platform tells us nothing."""
KEY = ("FromUserName", "MsgId", "Event", "EventKey", "CreateTime")
WARM_S = 5.0
AIM_MS = 1_000.0


@dataclass(frozen=True)
class Deed:
    """Something a person does with the phone."""

    openid: str
    action: str
    wish: dict[str, Any]


@dataclass
class Went:
    """How one event went."""

    ms: float
    at_server_ms: int
    verdicts: tuple[str, ...]
    key: tuple[str, ...]
    """What makes it one event for the platform."""
    is_answered: bool
    error: str = ""


@dataclass(frozen=True)
class Summary:
    """A run."""

    events: int
    people: int
    per_second: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    server_p50_ms: float
    server_p99_ms: float
    answered: int
    errors: dict[str, int]
    taken_in: int
    different: int
    late_ms: float


def scripts() -> list[Script]:
    """Every conversation there is."""
    return [one for path in sorted(SCRIPTS.glob("*.toml")) for one in read(path.read_text(encoding="utf-8"))]


def cast(live: Live, script: Script) -> list[Deed]:
    """A script's deeds, by people made for it."""
    people = [{"name": actor.name, "following": actor.following, "crowd": True} for actor in script.people]
    made = live.sandbox.post("/sandbox/people", people=people)["people"]
    openids = {actor.name: str(person["openid"]) for actor, person in zip(script.people, made, strict=True)}
    return [
        Deed(openids[step.person], step.action, step.wish)
        for step in script.steps
        if step.action is not None and step.action not in LEFT_OUT
    ]


def interleaved(live: Live, known: Sequence[Script], events: int, chance: random.Random) -> list[Deed]:
    """So many events of all scripts side by side, over and over with new people."""
    found: list[Deed] = []
    while len(found) < events:
        rows = [cast(live, one) for one in chance.sample(known, len(known))]
        for place in range(max(map(len, rows))):
            found += [row[place] for row in rows if place < len(row)]
    return found[:events]


async def play(url: str, deeds: Sequence[Deed], rate: float) -> tuple[list[Went], float]:
    """Every deed at its moment; and how late the latest of them set off."""
    went: list[Went] = []
    late = 0.0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.perf_counter() + 0.2

        async def do(deed: Deed, due: float, before: asyncio.Task[None] | None) -> None:
            if before is not None:
                # Nobody writes on before the phone has shown the answer; the time runs all the same.
                await before
            path = f"{url}/sandbox/people/{deed.openid}/{deed.action}"
            async with session.post(path, json=deed.wish) as response:
                answer = await response.json()
            ms = (time.perf_counter() - due) * 1_000
            deliveries = answer.get("deliveries", [])
            verdicts = tuple(one["verdict"] for one in deliveries)
            server_ms = deliveries[-1]["ms"] if deliveries else 0
            key = tuple(str((answer.get("event") or {}).get(name)) for name in KEY)
            went.append(Went(ms, server_ms, verdicts, key, answer.get("reply") is not None, answer.get("error", "")))

        latest: dict[str, asyncio.Task[None]] = {}
        tasks = []
        for number, deed in enumerate(deeds):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            late = max(late, time.perf_counter() - due)
            latest[deed.openid] = asyncio.ensure_future(do(deed, due, latest.get(deed.openid)))
            tasks.append(latest[deed.openid])
        await asyncio.gather(*tasks)
    return went, late * 1_000


def part(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure(live: Live, seconds: int, rate: float) -> Summary:
    """One run in a town just built."""
    town, known, chance = Town.build(live), scripts(), random.Random(6)
    asyncio.run(play(live.sandbox.url, interleaved(live, known, int(WARM_S * rate), chance), rate))
    deeds = interleaved(live, known, int(seconds * rate), chance)
    (before,) = town.rows("SELECT count(*) AS many FROM inbox_event WHERE source = 'event'")
    began = time.perf_counter()
    went, late = asyncio.run(play(live.sandbox.url, deeds, rate))
    took = time.perf_counter() - began
    (after,) = town.rows("SELECT count(*) AS many FROM inbox_event WHERE source = 'event'")
    errors = Counter(one.error or "、".join(one.verdicts) for one in went if one.error or one.verdicts != ("ok",))
    return Summary(
        events=len(went),
        people=len({deed.openid for deed in deeds}),
        per_second=len(went) / took,
        p50_ms=part([one.ms for one in went], 0.5),
        p99_ms=part([one.ms for one in went], 0.99),
        worst_ms=max(one.ms for one in went),
        server_p50_ms=part([one.at_server_ms for one in went], 0.5),
        server_p99_ms=part([one.at_server_ms for one in went], 0.99),
        answered=sum(one.is_answered for one in went),
        errors=dict(errors),
        different=len({one.key for one in went if not one.error}),
        taken_in=after["many"] - before["many"],
        late_ms=late,
    )


@click.command()
@click.option("--seconds", default=60)
@click.option("--rate", default=100.0, help="Events a second.")
@click.option("--json", "as_json", is_flag=True)
def main(seconds: int, rate: float, as_json: bool) -> None:
    """Hold all scripted conversations at once."""
    with tempfile.TemporaryDirectory(prefix="quanma-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        settings = read_settings(_env_file=None, quanma_home=folder, secret_key=SECRET_KEY)
        embedded = EmbeddedServers(settings, is_durable=True)
        database = Database(embedded.urls.database_url, SECRET_KEY, pooled=False)
        upgrade(database, SECRET_KEY)
        database.dispose()
        try:
            with live_system(embedded.urls, folder) as live:
                found = measure(live, seconds, rate)
        finally:
            embedded.leave()
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    click.echo(describe())
    click.echo(
        f"{found.events:,} events of {found.people:,} people, {found.per_second:.1f}/s, setting off at most "
        f"{found.late_ms:.0f} ms late: p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms, worst "
        f"{found.worst_ms:.0f} ms (at the callback p50 {found.server_p50_ms:.0f}, p99 {found.server_p99_ms:.0f}); "
        f"answered with words {found.answered:,}, different ones {found.different:,}, "
        f"taken in {found.taken_in:,}, errors {found.errors or 0}"
    )
    click.echo(f"p99 under {AIM_MS:.0f} ms: {'yes' if found.p99_ms < AIM_MS else 'no'}")


if __name__ == "__main__":
    main()
