"""The judge: what was acknowledged is in the inbox, nothing is there twice, and what the inbox did is its fold (EV-1 to
EV-5).

The fold is written anew here, in the simplest way that is right for stories whose events lie more than a minute apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import text

from core.database import Role
from core.runtime import Runtime
from tests.faults.platform import Platform, Push

Owners = Mapping[str, int]
"""Which merchant a scene belongs to."""


@dataclass
class Standing:
    """Where one person stands."""

    status: str = "unknown"
    episodes: list[tuple[int, int | None, str, str | None]] = field(default_factory=list)
    """Begin, end, source and scene."""
    scans: list[tuple[int, int]] = field(default_factory=list)
    """When, and whose code."""
    lists: set[int] = field(default_factory=set)
    """The merchants whose fan they are."""

    @property
    def is_following(self) -> bool:
        return bool(self.episodes) and self.episodes[-1][1] is None

    def apply(self, push: Push, owners: Owners) -> None:
        if push.kind in {"subscribe", "unsubscribe"} and self.is_following:
            began, _, source, scene = self.episodes[-1]
            self.episodes[-1] = (began, push.at, source, scene)
        if push.kind == "subscribe":
            self.episodes.append((push.at, None, "event", push.scene))
        elif push.kind != "unsubscribe" and not self.is_following:
            # Only a follower can scan, write or click: nobody told us of the follow.
            self.episodes.append((push.at, None, "implied", None))
        self.status = "gone" if push.kind == "unsubscribe" else "following"
        if push.scene is not None:
            self.scans.append((push.at, owners[push.scene]))
            self.lists.add(owners[push.scene])


def fold(pushes: Iterable[Push], owners: Owners) -> Standing:
    """What the events of one person come to, applied in the order given."""
    standing = Standing()
    for push in pushes:
        standing.apply(push, owners)
    return standing


def in_order(pushes: Iterable[Push]) -> list[Push]:
    return sorted(pushes, key=lambda push: push.at)


def by_person(pushes: Iterable[Push]) -> dict[str, list[Push]]:
    people: defaultdict[str, list[Push]] = defaultdict(list)
    for push in pushes:
        people[push.openid].append(push)
    return people


def inbox_of(runtime: Runtime, openids: Iterable[str]) -> list[Push]:
    """The stored events of these people, in the order in which they were taken in."""
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=20) as session:
        rows = session.execute(
            text("""
                SELECT f.openid, i.event_at, i.kind, i.scene
                FROM inbox_event i JOIN follower f ON f.id = i.follower_id
                WHERE i.source = 'event' AND f.openid = ANY(:openids) ORDER BY i.id"""),
            {"openids": list(openids)},
        )
        return [Push(row.openid, _seconds(row.event_at), row.kind, row.scene) for row in rows]


def standings_of(runtime: Runtime, openids: Iterable[str]) -> dict[str, Standing]:
    """Where these people stand according to the tables."""
    standings: defaultdict[str, Standing] = defaultdict(Standing)
    wanted = {"openids": list(openids)}
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=20) as session:
        for openid, status in session.execute(
            text("SELECT openid, status FROM follower WHERE openid = ANY(:openids)"), wanted
        ):
            standings[openid].status = status
        for openid, began, ended, source, scene in session.execute(
            text("""
                SELECT f.openid, e.started_at, e.ended_at, e.source, e.scene
                FROM follow_episode e JOIN follower f ON f.id = e.follower_id
                WHERE e.voided_at IS NULL AND f.openid = ANY(:openids) ORDER BY e.started_at"""),
            wanted,
        ):
            standings[openid].episodes.append((_seconds(began), ended and _seconds(ended), source, scene))
        for openid, at, merchant_id in session.execute(
            text("""
                SELECT f.openid, s.scanned_at, s.merchant_id FROM scan s JOIN follower f ON f.id = s.follower_id
                WHERE f.openid = ANY(:openids) ORDER BY s.scanned_at"""),
            wanted,
        ):
            standings[openid].scans.append((_seconds(at), merchant_id))
        for openid, merchant_id in session.execute(
            text("""
                SELECT f.openid, n.merchant_id FROM fan n JOIN follower f ON f.id = n.follower_id
                WHERE f.openid = ANY(:openids)"""),
            wanted,
        ):
            standings[openid].lists.add(merchant_id)
    return standings


def judge(runtime: Runtime, platform: Platform, owners: Owners) -> list[str]:
    """Everything that is wrong, in sentences; nothing where all promises held."""
    openids = {push.openid for push in platform.sent}
    stored = inbox_of(runtime, openids)
    wrong = [f"acknowledged and lost: {push}" for push in platform.acknowledged - set(stored)]
    wrong += [f"stored and never sent: {push}" for push in set(stored) - platform.sent]
    wrong += [f"stored {count} times: {push}" for push, count in Counter(stored).items() if count > 1]
    wrong += [f"answered in different words: {push}" for push, words in platform.words.items() if len(words) > 1]
    return wrong + misapplied(standings_of(runtime, openids), set(stored), owners)


def misapplied(found: Mapping[str, Standing], stored: Iterable[Push], owners: Owners) -> list[str]:
    """People whom the tables show elsewhere than their distinct events lead."""
    people = by_person(stored)
    expected = {openid: fold(in_order(pushes), owners) for openid, pushes in people.items()}
    return [
        f"{openid} stands at {found.get(openid)}, but {people.get(openid)} lead to {expected.get(openid)}"
        for openid in sorted(expected.keys() | found.keys())
        if expected.get(openid) != found.get(openid)
    ]


def feels_the_order(stored: Sequence[Push], owners: Owners) -> int:
    """For how many people it would matter if events were applied as they arrived."""
    return sum(fold(pushes, owners) != fold(in_order(pushes), owners) for pushes in by_person(stored).values())


def _seconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp())
