"""Did it make a difference? Two shares compared, with how sure one can be, and silence where one cannot."""

from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from statistics import NormalDist
from typing import Final

FEWEST: Final = 100
"""Below so many people on either side, nothing is said."""
DOUBT: Final = 0.05
"""How often a difference may be claimed where there is none, over all the claims of one question."""


@dataclass(frozen=True)
class Arm:
    """One side: how many people, and how many of them did it."""

    people: int
    hits: int

    @property
    def share(self) -> float | None:
        return self.hits / self.people if self.people else None


class Verdict(StrEnum):
    MORE = "more"
    LESS = "less"
    UNSURE = "unsure"
    """Chance alone could have made the difference."""
    TOO_SMALL = "too_small"
    """Too few people to say anything."""


@dataclass(frozen=True)
class Lift:
    """How much larger the share of `one` is than that of `other`; shares are parts of 1."""

    one: Arm
    other: Arm
    difference: float
    error: float
    """Its standard error."""
    low: float
    high: float
    verdict: Verdict

    @property
    def is_told(self) -> bool:
        return self.verdict in (Verdict.MORE, Verdict.LESS)


def compare(one: Arm, other: Arm, *, claims: int = 1) -> Lift:
    """The difference of two shares after Agresti and Caffo: one hit and one miss are added to either side, which
    keeps the interval honest where hits are rare.

    Where the same two groups are asked several questions, `claims` says how many, and each is answered more carefully.
    """
    shares = [(arm.hits + 1) / (arm.people + 2) for arm in (one, other)]
    middle = shares[0] - shares[1]
    error = sqrt(sum(p * (1 - p) / (arm.people + 2) for p, arm in zip(shares, (one, other), strict=True)))
    reach = NormalDist().inv_cdf(1 - DOUBT / claims / 2) * error
    low, high = middle - reach, middle + reach
    if min(one.people, other.people) < FEWEST:
        verdict = Verdict.TOO_SMALL
    elif low > 0:
        verdict = Verdict.MORE
    elif high < 0:
        verdict = Verdict.LESS
    else:
        verdict = Verdict.UNSURE
    return Lift(one, other, (one.share or 0.0) - (other.share or 0.0), error, low, high, verdict)
