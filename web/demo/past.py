"""Five weeks made up: who follows, scans, writes and leaves when; the same each time for the same beginning and end.

Weekends are livelier, rainy days quiet, a neighbourhood market brings many; shops keep their hours and differ in
size. Of the newcomers a third scan a second shop, a tenth leave, and some of those come back through another code.
"""

import base64
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from core.clock import SHANGHAI, business_day, start_of_day
from web.demo import story
from web.demo.story import Deed, Resident, Shop

DAYS: Final = 35
NEWCOMERS: Final = 690
WERE_HERE: Final = 119
SEED: Final = 20_260

RAINY_DAYS: Final = 6
RAIN: Final = 0.35
MARKET: Final = 2.2
"""How many times as many people are about on the third Saturday, when the market is on."""

WITHOUT_CODE: Final = 0.07
BY_OLD_CODE: Final = 0.02
LEAVES: Final = 0.11
LEAVES_AT_ONCE: Final = 0.35
COMES_BACK: Final = 0.35
SECOND_SHOP: Final = 0.36
IS_REGULAR: Final = 0.25
COMES_AGAIN_WITHIN: Final = timedelta(days=12)
WRITES: Final = 0.15
VIEWS: Final = 0.18

QUIET_END: Final = timedelta(minutes=10)
"""Nothing happens in the last minutes, so that no window of a scan is open that the sandbox knows nothing of."""

Spot = tuple[str, str] | None
"""A shop and the label of its code; None: no code at all."""
OLD_BOARD: Final = ("", story.OLD_SCENE)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a phone. `was_here_since`: followed before the account went live here."""

    openid: str
    name: str
    colour: str = ""
    is_crowd: bool = True
    was_here_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    at: datetime
    openid: str
    deed: Deed
    spot: Spot = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    """Everybody there is, and what they did in the order of time."""

    people: list[Person]
    happenings: list[Happening]

    def follows(self) -> dict[str, tuple[datetime, Spot]]:
        """Who follows in the end, since when and through which code."""
        standing: dict[str, tuple[datetime, Spot]] = {
            person.openid: (person.was_here_since, None) for person in self.people if person.was_here_since
        }
        for happening in self.happenings:
            if happening.deed is Deed.FOLLOW:
                standing[happening.openid] = happening.at, happening.spot
            elif happening.deed is Deed.LEAVE:
                standing.pop(happening.openid, None)
        return standing


def live_since(until: datetime) -> datetime:
    """The beginning of the first of the days."""
    return start_of_day(business_day(until) - timedelta(days=DAYS))


def tell(app_id: str, until: datetime) -> Past:
    """The past of an account up to a moment."""
    return _Storyteller(app_id, until).tell()


class _Storyteller:
    def __init__(self, app_id: str, until: datetime) -> None:
        self._app_id = app_id
        self._until = until.replace(microsecond=0)
        self._since = live_since(until)
        self._end = self._until - QUIET_END
        self._random = random.Random(SEED)  # noqa: S311  a story, not a secret
        first = business_day(self._since)
        self._days = [first + timedelta(days=step) for step in range((business_day(until) - first).days + 1)]
        self._life = self._how_lively()
        self._people: list[Person] = []
        self._happenings: list[Happening] = []
        self._taken: set[tuple[str, datetime]] = set()

    def tell(self) -> Past:
        for resident in story.RESIDENTS:
            self._resident(resident)
        for _ in range(WERE_HERE):
            self._somebody_who_was_here()
        for _ in range(NEWCOMERS):
            self._newcomer()
        return Past(self._people, sorted(self._happenings, key=lambda one: (one.at, one.openid)))

    # Days and hours

    def _how_lively(self) -> dict[date, float]:
        """Each day's pull beside an ordinary weekday's, before the shops' own habits."""
        saturdays = [day for day in self._days if day.weekday() == 5]
        market = saturdays[min(2, len(saturdays) - 1)]
        rainy = set(self._random.sample([day for day in self._days if day != market], RAINY_DAYS))
        life = {}
        for number, day in enumerate(self._days):
            growth = 0.9 + 0.2 * number / DAYS
            life[day] = growth * (RAIN if day in rainy else 1) * (MARKET if day == market else 1)
        return life

    def _moment(self, shop: Shop, after: datetime, before: datetime) -> datetime | None:
        """When somebody happens to be at the shop; None where the time between is too short for it."""
        first, last = business_day(after), business_day(before)
        days = [day for day in self._days if first <= day <= last]
        if not days:
            return None
        weights = [self._life[day] * (shop.weekend if day.weekday() >= 5 else 1) for day in days]
        for _ in range(12):
            (day,) = self._random.choices(days, weights)
            at = self._on(day, time(self._random.choice(shop.busy), self._random.randrange(60)))
            if after < at < before:
                return at
        return None

    def _on(self, day: date, at: time) -> datetime:
        moment = datetime.combine(day, at, SHANGHAI) + timedelta(seconds=self._random.randrange(60))
        return moment.astimezone(self._until.tzinfo)

    def _soon(self, after: datetime, mean: timedelta) -> datetime:
        return after + timedelta(seconds=20 + round(self._random.expovariate(1 / mean.total_seconds())))

    # Shops and codes

    def _opened(self, shop: Shop) -> datetime:
        return self._since + timedelta(days=shop.joined, hours=6)

    def _shop(self, *, but: Shop | None = None) -> Shop:
        shops = [shop for shop in story.SHOPS if shop is not but]
        # Who joined late had less time to be found.
        weights = [shop.size * (DAYS - shop.joined) / DAYS for shop in shops]
        return self._random.choices(shops, weights)[0]

    def _spot(self, shop: Shop) -> tuple[str, str]:
        spot = self._random.choices(shop.spots, [spot.share for spot in shop.spots])[0]
        return shop.name, spot.label

    # People

    def _add(
        self, name: str, *, colour: str = "", is_crowd: bool = True, was_here_since: datetime | None = None
    ) -> Person:
        tag = base64.urlsafe_b64encode(hashlib.sha256(self._app_id.encode()).digest()).decode()[:6]
        own = hashlib.sha256(f"{self._app_id} {name}".encode()).digest()
        openid = f"o{tag}{base64.urlsafe_b64encode(own).decode()[:21]}"
        person = Person(openid, name, colour, is_crowd, was_here_since)
        self._people.append(person)
        return person

    def _resident(self, resident: Resident) -> None:
        since = self._long_ago(resident.years_ago * 365) if resident.years_ago else None
        person = self._add(resident.name, colour=resident.colour, is_crowd=False, was_here_since=since)
        for step in resident.steps:
            at = datetime.combine(
                business_day(self._until) - timedelta(days=step.days_ago), time.fromisoformat(step.at), SHANGHAI
            )
            text = self._random.choice(story.CHATTER) if step.deed is Deed.WRITE else ""
            spot = (step.shop, step.label) if step.label else None
            self._note(person, at.astimezone(self._until.tzinfo), step.deed, spot, text)

    def _somebody_who_was_here(self) -> None:
        since = self._long_ago(self._random.randrange(60, 1400))
        person = self._add(f"老邻居{len(self._people)}", was_here_since=since)
        if self._random.random() < 0.5:
            shop = self._shop()
            at = self._moment(shop, self._opened(shop), self._end)
            if at is not None:
                self._note(person, at, Deed.SCAN, self._spot(shop))
                self._visits(person, shop, at, self._end)
        if self._random.random() < 0.06:
            at = self._moment(story.TEA_HOUSE, self._since + timedelta(days=2), self._end)
            if at is not None and not any(one.openid == person.openid and one.at > at for one in self._happenings):
                self._note(person, at, Deed.LEAVE)

    def _long_ago(self, days: int) -> datetime:
        return self._on(business_day(self._since) - timedelta(days=days), time(self._random.randrange(8, 22)))

    def _newcomer(self) -> None:
        person = self._add(f"居民{len(self._people)}")
        shop = self._shop()
        at = self._moment(shop, self._opened(shop), self._end)
        if at is None:
            return
        chance = self._random.random()
        spot: Spot = self._spot(shop)
        if chance < WITHOUT_CODE:
            spot = None
        elif chance < WITHOUT_CODE + BY_OLD_CODE:
            spot = OLD_BOARD
        self._note(person, at, Deed.FOLLOW, spot)
        left_at = self._leaving(at) if self._random.random() < LEAVES else None
        until = left_at or self._end
        self._visits(person, shop, at, until)
        if left_at is None:
            return
        self._note(person, left_at, Deed.LEAVE)
        if self._random.random() < COMES_BACK:
            other = self._shop(but=shop)
            back_at = self._moment(other, left_at + timedelta(hours=3), min(left_at + timedelta(days=25), self._end))
            if back_at is not None and back_at > self._opened(other):
                self._note(person, back_at, Deed.FOLLOW, self._spot(other))

    def _leaving(self, after: datetime) -> datetime | None:
        mean = timedelta(minutes=12) if self._random.random() < LEAVES_AT_ONCE else timedelta(days=6)
        at = self._soon(after + timedelta(minutes=1), mean)
        return at if at < self._end else None

    def _visits(self, person: Person, shop: Shop, after: datetime, until: datetime) -> None:
        """What somebody who follows does until they leave: come again, try another shop, write, look around."""
        visited = []
        if self._random.random() < IS_REGULAR:
            visited += [shop] * self._random.choice((1, 1, 1, 2, 2, 3, 4))
        if self._random.random() < SECOND_SHOP:
            other = self._shop(but=shop)
            visited += [other] * self._random.choice((1, 1, 1, 2))
        for one in visited:
            first = max(after + timedelta(hours=2), self._opened(one))
            at = self._moment(one, first, min(until, first + COMES_AGAIN_WITHIN))
            if at is not None:
                self._note(person, at, Deed.SCAN, self._spot(one))
        if self._random.random() < BY_OLD_CODE:
            at = self._moment(shop, after + timedelta(hours=1), until)
            if at is not None:
                self._note(person, at, Deed.SCAN, OLD_BOARD)
        for chance, deed in ((WRITES, Deed.WRITE), (VIEWS, Deed.VIEW)):
            at = self._soon(after, timedelta(hours=8))
            if self._random.random() < chance and at < until:
                self._note(person, at, deed, text=self._random.choice(story.CHATTER) if deed is Deed.WRITE else "")

    def _note(self, person: Person, at: datetime, deed: Deed, spot: Spot = None, text: str = "") -> None:
        """Events of one person never share a second: which came first would be anybody's guess."""
        while (person.openid, at) in self._taken:
            at += timedelta(seconds=1)
        self._taken.add((person.openid, at))
        self._happenings.append(Happening(at, person.openid, deed, spot, text))


def batches(happenings: Sequence[Happening], size: int) -> list[list[Happening]]:
    """The happenings cut into groups that keep the order and hold nobody twice."""
    cut: list[list[Happening]] = []
    group: list[Happening] = []
    seen: set[str] = set()
    for happening in happenings:
        if len(group) == size or happening.openid in seen:
            cut.append(group)
            group, seen = [], set()
        group.append(happening)
        seen.add(happening.openid)
    return [*cut, group] if group else cut
