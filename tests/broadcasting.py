"""A shop with fans whom the platform knows too, and broadcasts that only wait to be sent."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
from sqlalchemy import text

from campaigns.broadcasts import control, freezing, sending
from core.database import Role
from core.jobs import drain
from core.runtime import Runtime
from tests.community import Neighbourhood, new_openid
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
    openids: dict[int, str] = field(default_factory=dict)

    @classmethod
    def open(cls, runtime: Runtime, sandbox: Sandbox, name: str = "茶馆") -> "Shop":
        street = Neighbourhood(runtime)
        return cls(runtime, sandbox, street.merchant(name), street.account_id)

    def fans(self, count: int, *, asking: bool = False) -> list[int]:
        """So many new followers, fans of this shop; `asking` for offers, they have opened a window. Their ids."""
        openids = [new_openid() for _ in range(count)]
        for part in range(0, count, 2_000):
            people = [
                {"openid": one, "following": True, "crowd": True, **({"wrote": True} if asking else {})}
                for one in openids[part : part + 2_000]
            ]
            self.sandbox.post("/sandbox/people", people=people)
        with self.runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
            rows = session.execute(
                text("""
                    INSERT INTO follower (account_id, openid, person_key, status, state_as_of, first_seen_at, last_seen_at)
                    SELECT :account, o, sha256(convert_to(o, 'UTF8')), 'following', app_now() - interval '9 days',
                           app_now() - interval '9 days', app_now() - interval '9 days'
                    FROM unnest(CAST(:openids AS text[])) o RETURNING id, openid"""),
                {"account": self.account_id, "openids": openids},
            ).all()
            session.execute(
                text("""
                    WITH come AS (
                        INSERT INTO attribution (id, episode_id, follower_id, kind, followed_at, rule, rule_version, source)
                        SELECT nextval('attribution_id_seq'), nextval('follow_episode_id_seq'), n,
                               'unattributed', app_now() - interval '9 days', 'no_code', 1, 'pre-existing'
                        FROM unnest(CAST(:ids AS bigint[])) n RETURNING id, episode_id, follower_id, followed_at)
                    INSERT INTO follow_episode (id, follower_id, started_at, source, attribution_id)
                    OVERRIDING SYSTEM VALUE
                    SELECT episode_id, follower_id, followed_at, 'pre-existing', id FROM come"""),
                {"ids": [row.id for row in rows]},
            )
        found = {row.id: row.openid for row in rows}
        self.openids |= found
        self.list(sorted(found), asking=asking)
        return sorted(found)

    def list(self, followers: Sequence[int], *, asking: bool = False) -> None:
        """These followers are fans of this shop, too."""
        with self.runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
            session.execute(
                text("""
                    INSERT INTO fan (merchant_id, follower_id, number, first_touch_at, last_touch_at)
                    SELECT :shop, n, 'F' || :shop || 'N' || n, app_now() - interval '9 days',
                           app_now() - interval '9 days' - n * interval '1 s'
                    FROM unnest(CAST(:ids AS bigint[])) n"""),
                {"shop": self.id, "ids": list(followers)},
            )
            if asking:
                session.execute(
                    text("""
                        INSERT INTO message_window (inbox_id, follower_id, merchant_id, trigger, opened_at, expires_at,
                                                    allowance, wants_offers)
                        SELECT :shop * 1000000000 + n, n, :shop, 'message', app_now(), app_now() + interval '48 h', 5, true
                        FROM unnest(CAST(:ids AS bigint[])) n"""),
                    {"shop": self.id, "ids": list(followers)},
                )

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


def log_of(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Everything the platform saw, in order."""
    lines: list[dict[str, Any]] = []
    while True:
        after = lines[-1]["n"] if lines else 0
        answer = requests.get(f"{sandbox.url}/sandbox/log", params={"after": after, "limit": 100_000}, timeout=30)
        more = [json.loads(line) for line in answer.text.splitlines()]
        if not more:
            return lines
        lines += more


def deliveries(sandbox: Sandbox, *, since: int = 0) -> Counter[tuple[str, str]]:
    """How often the platform accepted which words for whom, by its own log, by either way."""
    seen: Counter[tuple[str, str]] = Counter()
    for line in log_of(sandbox):
        if line["n"] <= since:
            continue
        if line.get("path") == CUSTOM and line["accepted"]:
            seen[line["body"]["touser"], line["body"]["text"]["content"]] += 1
        elif line["kind"] == "mass" and line["by"] == "api":
            for openid in line["openids"]:
                seen[openid, str(line["content"].get("text"))] += 1
    return seen


def misbehave(sandbox: Sandbox, path: str, *, times: int | None = 1, **deed: Any) -> None:
    """Let the platform do this at the next calls."""
    sandbox.post("/sandbox/faults", rules=[{"match": {"path": path}, "next": times, "do": deed}])


def without_quiet_hours(runtime: Runtime) -> None:
    """Tests send at whatever hour they run."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE quota_policy SET quiet_from = '00:00', quiet_until = '00:00'"))
