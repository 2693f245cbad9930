"""Who follows, from what was seen: a pure fold of facts into episodes, the same for any order of arrival (EV-5).

Facts of one follower are sorted by CreateTime before they are folded, so a delivery that comes late, twice or
after its successor ends in the same episodes. Nothing here touches the database.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import groupby

from merchants.models import EpisodeSource, FollowStatus

SAME_FOLLOW = timedelta(seconds=60)
"""An event's CreateTime and the platform's subscribe_time of one follow may differ by a little; two follows do not."""

_STRENGTH = {
    EpisodeSource.IMPLIED: 0,
    EpisodeSource.PRE_EXISTING: 1,
    EpisodeSource.RECONCILE: 1,
    EpisodeSource.EVENT: 2,
}


class FactKind(IntEnum):
    """In the order in which facts of one second are taken, unless a follow and a leave share it."""

    FOLLOW = 0
    SIGN = 1
    """Something only a follower can do: a message, a scan, a click."""
    LEAVE = 2


@dataclass(frozen=True, slots=True)
class Fact:
    at: datetime
    kind: FactKind
    source: EpisodeSource = EpisodeSource.EVENT
    scene: str | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One stretch of following; `scene` is what the follow came through, and `started_at` when it was scanned."""

    started_at: datetime
    source: EpisodeSource
    scene: str | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Following:
    """Where the facts so far lead. `episodes` are in order; only the last one may be open."""

    status: FollowStatus = FollowStatus.UNKNOWN
    as_of: datetime | None = None
    episodes: tuple[Episode, ...] = ()


def fold(facts: Iterable[Fact], start: Following | None = None) -> Following:
    """Apply facts, all of them later than `start.as_of`, in the order of their times.

    A follow and a leave within one second leave the status ambiguous (EV-7): the follow is taken as the later one,
    and the platform's user info decides with a fact of its own. A sign of somebody who is not following proves a
    follow nobody told us of: an episode of source implied, until user info tells more.
    """
    state = start or Following()
    ordered = sorted(facts, key=lambda fact: (fact.at, fact.kind, -_STRENGTH[fact.source], fact.scene or ""))
    for at, group in groupby(ordered, key=lambda fact: fact.at):
        state = _apply_second(state, at, list(group))
    return state


def _apply_second(state: Following, at: datetime, facts: Sequence[Fact]) -> Following:
    kinds = {fact.kind for fact in facts}
    episodes = list(state.episodes)
    is_ambiguous = {FactKind.FOLLOW, FactKind.LEAVE} <= kinds
    if is_ambiguous:
        _leave(episodes, at)
    for fact in facts:
        if fact.kind is FactKind.FOLLOW:
            _follow(episodes, fact)
        elif fact.kind is FactKind.SIGN and not _is_open(episodes):
            episodes.append(Episode(at, EpisodeSource.IMPLIED))
        elif fact.kind is FactKind.LEAVE and not is_ambiguous:
            _leave(episodes, at)
    if is_ambiguous:
        status = FollowStatus.AMBIGUOUS
    else:
        status = FollowStatus.GONE if FactKind.LEAVE in kinds else FollowStatus.FOLLOWING
    return Following(status, at, tuple(episodes))


def _is_open(episodes: Sequence[Episode]) -> bool:
    return bool(episodes) and episodes[-1].ended_at is None


def _leave(episodes: list[Episode], at: datetime) -> None:
    if _is_open(episodes):
        episodes[-1] = replace(episodes[-1], ended_at=at)


def _follow(episodes: list[Episode], fact: Fact) -> None:
    if _is_open(episodes):
        current = episodes[-1]
        if is_same_follow(current, fact):
            if _STRENGTH[fact.source] > _STRENGTH[current.source]:
                episodes[-1] = replace(current, started_at=fact.at, source=fact.source, scene=fact.scene)
            return
        # Following twice means that a leave in between was never told.
        _leave(episodes, fact.at)
    episodes.append(Episode(fact.at, fact.source, fact.scene))


def is_same_follow(episode: Episode, fact: Fact) -> bool:
    """Whether a follow fact tells again of the follow that opened `episode`: from another source, moments apart."""
    if fact.at - episode.started_at > SAME_FOLLOW:
        return False
    return fact.source is not episode.source or fact.at == episode.started_at
