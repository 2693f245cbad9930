"""Who is credited with a follow: one rule, with a name for each of its cases and a version, and nothing else.

The code that made somebody follow gets the credit. Who leaves and follows again within the protection window stays
with the former merchant; after it, the new code wins. Scans of a follower are touches and change no credit (EV-9).
How long the window is, the operator decides; each follow is judged by the version in force at its CreateTime, however
late it is told, so that a new version never rewrites the past.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from merchants.following import Episode
from merchants.models import EpisodeSource
from qrcodes.models import AttributionKind

FIRST_FOLLOW: Final = "first-follow"
FORMER_MERCHANT: Final = "former-merchant"
AFTER_PROTECTION: Final = "after-protection"
PRE_EXISTING: Final = "pre-existing"
IMPLIED: Final = "implied"
VOID: Final = "void"


@dataclass(frozen=True, slots=True)
class Rule:
    """One version of the rule."""

    version: int
    effective_from: datetime
    protection: timedelta


class Rules:
    """All versions, each in force from its date until the next one's."""

    def __init__(self, versions: Iterable[Rule]) -> None:
        """The earliest has to cover everything that can have happened."""
        self._versions = sorted(versions, key=lambda rule: (rule.effective_from, rule.version), reverse=True)

    def at(self, moment: datetime) -> Rule:
        """The version in force at a follow's CreateTime."""
        return next(rule for rule in self._versions if rule.effective_from <= moment)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose code it was at the moment of the scan."""

    code_id: int
    merchant_id: int


@dataclass(frozen=True, slots=True)
class Credit:
    """The verdict over one follow episode. No merchant: unattributed, never a guess (EV-10)."""

    kind: AttributionKind
    merchant_id: int | None
    code_id: int | None
    rule: str
    rule_version: int


OwnerAt = Callable[[str, datetime], Owner | None]
"""Looks up whose scene it was at a CreateTime; None for an unknown or retired one."""


def credit(episode: Episode, previous: tuple[Episode, Credit] | None, owner_at: OwnerAt, rules: Rules) -> Credit:
    """The verdict over `episode`, given the one before it and its verdict."""
    rule = rules.at(episode.started_at)
    owner = None if episode.scene is None else owner_at(episode.scene, episode.started_at)
    merchant_id = None if owner is None else owner.merchant_id
    code_id = None if owner is None else owner.code_id
    if previous is None:
        if episode.source is EpisodeSource.PRE_EXISTING:
            return Credit(AttributionKind.PRE_EXISTING, None, None, PRE_EXISTING, rule.version)
        if episode.source is EpisodeSource.IMPLIED:
            # Whether this person came before us or since, only the platform knows; until it tells, nobody is new.
            return Credit(AttributionKind.PRE_EXISTING, None, None, IMPLIED, rule.version)
        return Credit(AttributionKind.NEW, merchant_id, code_id, FIRST_FOLLOW, rule.version)
    former, verdict = previous
    assert former.ended_at is not None  # noqa: S101
    if verdict.merchant_id is not None and episode.started_at - former.ended_at <= rule.protection:
        return Credit(AttributionKind.RETURNING, verdict.merchant_id, verdict.code_id, FORMER_MERCHANT, rule.version)
    return Credit(AttributionKind.RETURNING, merchant_id, code_id, AFTER_PROTECTION, rule.version)


def credits(episodes: Sequence[Episode], owner_at: OwnerAt, rules: Rules) -> list[Credit]:
    """The verdicts over a follower's whole history, in order."""
    verdicts: list[Credit] = []
    for index, episode in enumerate(episodes):
        previous = (episodes[index - 1], verdicts[-1]) if verdicts else None
        verdicts.append(credit(episode, previous, owner_at, rules))
    return verdicts
