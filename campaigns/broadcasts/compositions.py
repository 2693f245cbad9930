"""Which compositions a digest is sent in: few enough groups, and nobody gets a merchant whose fan they are not.

A set of items is a bit mask; bit 0 is the item that stands first. Fans of the same set get the same message.

The aim, in this order: as many articles in front of fans as possible, as many fans with anything at all, few groups.
Taking the composition that adds most, again and again, is at least 63 % of the best; exchanging one for another until
nothing gets better closes what is left of the gap nearly always (the tests compare with trying everything).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

MOST_ARTICLES: Final = 8
"""In one article message."""
SMALLEST_GROUP: Final = 2
"""A mass message goes to two at least."""
MOST_CANDIDATES: Final = 1024
EXACT_BELOW: Final = 4096
"""Candidates times sets of fans up to which each exchange is judged with lonely fans in mind."""

Counts = Mapping[int, int]
"""How many fans there are of exactly this set of items."""
Worth = tuple[int, int, int]


def choose(counts: Counts, *, most: int) -> list[int]:
    """At most `most` compositions that serve these fans best, the largest first; none of them is left unused."""
    fans = {mask: people for mask, people in counts.items() if mask and people > 0}
    covers = _covers(fans)
    chosen = _greedy(fans, covers, most)
    chosen = _exchange(fans, covers, chosen)
    if len(covers) * len(fans) <= EXACT_BELOW:
        chosen = _polish(fans, list(covers), chosen, most)
    used = set(assign(fans, chosen).values())
    return sorted(used, key=lambda one: (-one.bit_count(), one))


def assign(counts: Counts, compositions: Iterable[int]) -> dict[int, int]:
    """The composition that fans of each set get: the largest there is within their set, in groups of two or more.

    A fan who would be the only one of a group gets the next smaller one, or nothing.
    """
    fans = {mask: people for mask, people in counts.items() if mask and people > 0}
    room = {one: sum(people for mask, people in fans.items() if one & mask == one) for one in set(compositions) if one}
    while True:
        # Of two that are as large, the one for more people: there it is less lonely.
        ranked = sorted(room, key=lambda one: (-one.bit_count(), -room[one], one))
        given = {mask: best for mask in fans if (best := _first_within(ranked, mask))}
        sizes = dict.fromkeys(ranked, 0)
        for mask, best in given.items():
            sizes[best] += fans[mask]
        for one in [one for one in ranked if 0 < sizes[one] < SMALLEST_GROUP]:
            _keep_company(one, fans, given, sizes)
        lonely = [one for one in ranked if 0 < sizes[one] < SMALLEST_GROUP]
        if not lonely:
            return given
        largest = lonely[0].bit_count()
        del room[min((one for one in lonely if one.bit_count() == largest), key=lambda one: (room[one], one))]


def _keep_company(one: int, fans: Counts, given: dict[int, int], sizes: dict[int, int]) -> None:
    """Let fans of another group join a group's only fan, where that costs them less than the one would lose."""
    costs = [
        (people * (given[mask].bit_count() - one.bit_count()), mask)
        for mask, people in fans.items()
        if mask in given and given[mask] != one and one & mask == one
        and sizes[given[mask]] - people not in range(1, SMALLEST_GROUP)
    ]  # fmt: skip
    cost, mask = min(costs, default=(one.bit_count(), 0))
    if cost < one.bit_count():
        sizes[given[mask]] -= fans[mask]
        sizes[one] += fans[mask]
        given[mask] = one


def worth(counts: Counts, given: Mapping[int, int]) -> Worth:
    """What an assignment is worth: articles in front of fans, fans with anything, and few groups."""
    articles = sum(counts[mask] * one.bit_count() for mask, one in given.items())
    return articles, sum(counts[mask] for mask in given), -len(set(given.values()))


def _first_within(ranked: Sequence[int], mask: int) -> int:
    for one in ranked:
        if one & mask == one:
            return one
    return 0


def _covers(fans: Counts) -> dict[int, list[int]]:
    """The compositions worth a look, each with the sets of fans who may get it.

    Those are the sets there are and what sets have in common: of a group's fans, what all of them share is the most
    they can get. A set of more than eight is cut to eight in two ways.
    """
    popular = {bit: sum(people for mask, people in fans.items() if mask & bit) for bit in _bits(_union(fans))}
    start = {short for mask in fans for short in _cut(mask, popular)}
    found = set(start)
    edge = set(start)
    while edge and len(found) <= 4 * MOST_CANDIDATES:
        edge = {one & other for one in edge for other in start} - found - {0}
        found |= edge
    covers = {one: [mask for mask in fans if one & mask == one] for one in found}
    people = {one: sum(fans[mask] for mask in masks) for one, masks in covers.items()}
    worthwhile = [one for one in found if people[one] >= SMALLEST_GROUP]
    worthwhile.sort(key=lambda one: (-one.bit_count() * people[one], one))
    return {one: covers[one] for one in worthwhile[:MOST_CANDIDATES]}


def _cut(mask: int, popular: Mapping[int, int]) -> set[int]:
    """A set of at most eight: the first, or those most fans could get too."""
    bits = _bits(mask)
    if len(bits) <= MOST_ARTICLES:
        return {mask}
    liked = sorted(bits, key=lambda bit: (-popular[bit], bit))
    return {sum(bits[:MOST_ARTICLES]), sum(liked[:MOST_ARTICLES])}


def _greedy(fans: Counts, covers: Mapping[int, list[int]], most: int) -> list[int]:
    best = dict.fromkeys(fans, 0)
    chosen: list[int] = []
    while len(chosen) < most:
        one, gain = _most_gain(fans, covers, best)
        if not gain:
            break
        chosen.append(one)
        for mask in covers[one]:
            best[mask] = max(best[mask], one.bit_count())
    return chosen


def _exchange(fans: Counts, covers: Mapping[int, list[int]], chosen: list[int]) -> list[int]:
    """Put another composition in the place of one, as long as that brings articles to more fans."""
    is_better = True
    while is_better:
        is_better = False
        for place, one in enumerate(chosen):
            others = [*chosen[:place], *chosen[place + 1 :]]
            best = {mask: _first_within_size(others, mask) for mask in fans}
            lost = sum(fans[mask] * max(0, one.bit_count() - best[mask]) for mask in covers[one])
            other, gain = _most_gain(fans, covers, best)
            if gain > lost:
                chosen[place] = other
                is_better = True
    return chosen


def _polish(fans: Counts, candidates: Sequence[int], chosen: list[int], most: int) -> list[int]:
    """The same, and adding and leaving out, judged by what is assigned in the end."""
    current, value = chosen, worth(fans, assign(fans, chosen))
    while True:
        nearby = [[*current[:place], *current[place + 1 :]] for place in range(len(current))]
        smaller = nearby if len(current) >= most else [*nearby, current]
        tries = [*nearby, *([*few, one] for few in smaller for one in candidates if one not in current)]
        scored = [(worth(fans, assign(fans, one)), one) for one in tries]
        better = max(scored, key=lambda one: one[0], default=(value, current))
        if better[0] <= value:
            return current
        value, current = better


def _most_gain(fans: Counts, covers: Mapping[int, list[int]], best: Mapping[int, int]) -> tuple[int, int]:
    """The composition that brings most articles to fans who have `best[mask]` already."""
    top, most = 0, 0
    for one, masks in covers.items():
        size = one.bit_count()
        gain = sum(fans[mask] * (size - best[mask]) for mask in masks if best[mask] < size)
        if gain > most:
            top, most = one, gain
    return top, most


def _first_within_size(compositions: Iterable[int], mask: int) -> int:
    return max((one.bit_count() for one in compositions if one & mask == one), default=0)


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def _bits(mask: int) -> list[int]:
    return [1 << place for place in range(mask.bit_length()) if mask >> place & 1]
