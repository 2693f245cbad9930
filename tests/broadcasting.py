"""A shop with fans whom the platform knows too, and broadcasts that only wait to be sent."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import requests
from sqlalchemy import text

from bot.events import Event
from bot.inbox import Inbox
from campaigns.broadcasts import control, freezing, sending
from core.database import Role
from core.jobs import drain
from core.runtime import Runtime
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed, wrote
from tests.conftest import Sandbox

CUSTOM = "/cgi-bin/message/custom/send"
MASS = "/cgi-bin/message/mass/send"


@dataclass
class Shop:
    """A merchant, its fans here and on the platform."""

    runtime: Runtime
    sandbox: Sandbox
    id: int
    account_id: int
    code: Code
    inbox: Inbox
    log_began: int
    openids: dict[int, str] = field(default_factory=dict)

    @classmethod
    def open(cls, runtime: Runtime, sandbox: Sandbox, name: str = "茶馆") -> "Shop":
        street = Neighbourhood(runtime)
        merchant_id = street.merchant(name)
        seen = log_of(sandbox)
        began = seen[-1]["n"] if seen else 0
        return cls(runtime, sandbox, merchant_id, street.account_id, street.code(merchant_id), Inbox(runtime), began)

    def fans(self, count: int, *, asking: bool = False) -> list[int]:
        """So many new followers, fans of this shop; `asking` for offers, they have opened a window. Their ids."""
        openids = [new_openid() for _ in range(count)]
        for part in range(0, count, 2_000):
            people = [
                {"openid": one, "following": True, "crowd": True, **({"wrote": True} if asking else {})}
                for one in openids[part : part + 2_000]
            ]
            self.sandbox.post("/sandbox/people", people=people)
        came_at = self.inbox_now() - timedelta(hours=3)
        self.tell([subscribed(one, came_at, self.code.scene) for one in openids])
        if asking:
            self.tell([wrote(one, came_at + timedelta(hours=2), "看优惠") for one in openids])
        with self.runtime.transaction(Role.PLATFORM) as session:
            rows = session.execute(
                text("SELECT id, openid FROM follower WHERE openid = ANY(:openids) ORDER BY id"), {"openids": openids}
            ).all()
        self.openids |= {row.id: row.openid for row in rows}
        return [row.id for row in rows]

    def visited_by(self, openids: Sequence[str]) -> None:
        """These people scan this shop's code."""
        at = self.inbox_now() - timedelta(hours=2)
        self.tell([scanned(one, at, self.code.scene) for one in openids])

    def inbox_now(self) -> datetime:
        return self.runtime.now().replace(microsecond=0)

    def tell(self, events: Sequence[Event]) -> None:
        """Let the inbox take these in."""
        for part in range(0, len(events), 500):
            with self.runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
                self.inbox.record(session, events[part : part + 500])

    def approved(self, words: str = "今天新到明前茶", *, hello_days: int = 0, held_out: int = 0, b: str = "") -> int:
        """A broadcast that waits to be started."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            number: int = session.execute(
                text("""
                    INSERT INTO broadcast (account_id, merchant_id, hello_days, held_out_percent, content_hash)
                    VALUES (:account, :shop, :days, :held, :hash) RETURNING id"""),
                {"account": self.account_id, "shop": self.id, "days": hello_days, "held": held_out,
                 "hash": hashlib.sha256((words + b).encode()).digest()},
            ).scalar_one()  # fmt: skip
            for variant, said in (("a", words), ("b", b)):
                if said:
                    session.execute(
                        text("""
                            INSERT INTO broadcast_words (broadcast_id, variant, merchant_id, kind, text)
                            VALUES (:id, :variant, :shop, 'text', :words)"""),
                        {"id": number, "variant": variant, "shop": self.id, "words": said},
                    )
            for state in ("submitted", "approved"):
                session.execute(text("UPDATE broadcast SET state = :s WHERE id = :id"), {"s": state, "id": number})
        return number

    def started(self, words: str = "今天新到明前茶", **options: Any) -> int:
        """A broadcast whose audience is frozen."""
        broadcast_id = self.approved(words, **options)
        start(self.runtime)
        return broadcast_id

    def deliveries(self) -> Counter[tuple[str, str]]:
        """How often the platform accepted which words for which of the shop's fans."""
        own = set(self.openids.values())
        return Counter({key: n for key, n in deliveries(self.sandbox, since=self.log_began).items() if key[0] in own})

    def calls(self) -> Counter[str]:
        """How many calls of each kind of message the platform saw since the shop opened."""
        return Counter(
            line["path"] for line in log_of(self.sandbox, since=self.log_began) if line.get("path") in {CUSTOM, MASS}
        )

    def states(self, broadcast_id: int) -> Counter[str]:
        """How many recipients are in which state; of the skipped, for which reason."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            rows = session.execute(
                text("SELECT coalesce(reason, state) FROM broadcast_recipient WHERE broadcast_id = :id"),
                {"id": broadcast_id},
            )
            return Counter(rows.scalars())


def start(runtime: Runtime) -> None:
    """What the scheduler and a worker do about broadcasts that are due."""
    with runtime.transaction(Role.PLATFORM) as session:
        control.start_due(session, runtime.now())
    drain(runtime, {freezing.FREEZE: freezing.freeze}, "broadcasts")


def tidy(runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        control.tidy(session, runtime.now())


def send(runtime: Runtime, *, times: int = 4) -> None:
    """A worker, woken as often as the scheduler would."""
    for _ in range(times):
        sending.drain(runtime)
        with runtime.transaction(Role.PLATFORM) as session:
            session.execute(text("UPDATE send_batch SET not_before = clock_timestamp() WHERE state <> 'unknown'"))
        tidy(runtime)


def state_of(runtime: Runtime, broadcast_id: int) -> str:
    with runtime.transaction(Role.PLATFORM) as session:
        return str(session.scalar(text("SELECT state FROM broadcast WHERE id = :id"), {"id": broadcast_id}))


def log_of(sandbox: Sandbox, *, since: int = 0) -> list[dict[str, Any]]:
    """Everything the platform saw, in order, after a line of its log."""
    lines: list[dict[str, Any]] = []
    while True:
        after = lines[-1]["n"] if lines else since
        answer = requests.get(f"{sandbox.url}/sandbox/log", params={"after": after, "limit": 100_000}, timeout=30)
        more = [json.loads(line) for line in answer.text.splitlines()]
        if not more:
            return lines
        lines += more


def deliveries(sandbox: Sandbox, *, since: int = 0) -> Counter[tuple[str, str]]:
    """How often the platform accepted which words for whom, by its own log, by either way."""
    seen: Counter[tuple[str, str]] = Counter()
    for line in log_of(sandbox, since=since):
        if line.get("path") == CUSTOM and line["accepted"]:
            seen[line["body"]["touser"], line["body"]["text"]["content"]] += 1
        elif line["kind"] == "mass" and line["by"] == "api":
            for openid in line["openids"]:
                seen[openid, str(line["messages"][0].get("text", ""))] += 1
    return seen


def misbehave(sandbox: Sandbox, path: str, *, times: int | None = 1, **deed: Any) -> None:
    """Let the platform do this at the next calls."""
    sandbox.post("/sandbox/faults", rules=[{"match": {"path": path}, "next": times, "do": deed}])


def without_quiet_hours(runtime: Runtime) -> None:
    """Tests send at whatever hour they run."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE quota_policy SET quiet_from = '00:00', quiet_until = '00:00'"))
