"""The flow between merchants as a drawing: two columns of bars, and bands between them as wide as there are people."""

from __future__ import annotations

from dataclasses import dataclass

from qrcodes.insights import Flow, Place

WIDTH = 760
BAR = 14
GAP = 12
SCALE = 300
"""Height of everybody together; bars keep their gaps beside it."""
LEFT, RIGHT = 190, WIDTH - 190
COLOURS = 6


@dataclass(frozen=True)
class Bar:
    """A merchant on one side."""

    name: str
    people: int
    x: int
    y: float
    height: float
    colour: int
    is_left: bool

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True)
class Band:
    """People on their way from one merchant to another."""

    path: str
    title: str
    width: float
    colour: int


@dataclass(frozen=True)
class Drawing:
    bars: list[Bar]
    bands: list[Band]
    width: int
    height: int


def sankey(flow: Flow, *, others: str) -> Drawing:
    """Bars sorted as the flow is; a band leaves and arrives in the order of the other side."""
    unit = SCALE / max(1, flow.everybody)
    sources = _bars(flow.sources, [sum(line) for line in flow.people], unit, LEFT - BAR, others, is_left=True)
    targets = _bars(
        flow.targets, [sum(line[place] for line in flow.people) for place in range(len(flow.targets))], unit, RIGHT,
        others, is_left=False,
    )  # fmt: skip
    leaving = [bar.y for bar in sources]
    arriving = [bar.y for bar in targets]
    bands = []
    for row, source in enumerate(sources):
        for column, target in enumerate(targets):
            people = flow.people[row][column]
            if not people:
                continue
            width = people * unit
            start, end = leaving[row] + width / 2, arriving[column] + width / 2
            leaving[row] += width
            arriving[column] += width
            half = (LEFT + RIGHT) / 2
            path = f"M{LEFT} {start:.1f} C{half:.0f} {start:.1f} {half:.0f} {end:.1f} {RIGHT} {end:.1f}"
            bands.append(Band(path, f"{source.name} → {target.name}：{people:,}", max(1.0, width), source.colour))
    height = max((bar.y + bar.height for bar in (*sources, *targets)), default=0)
    return Drawing([*sources, *targets], bands, WIDTH, round(height) + GAP)


def _bars(places: tuple[Place, ...], sizes: list[int], unit: float, x: int, others: str, *, is_left: bool) -> list[Bar]:
    bars, y = [], float(GAP)
    for number, (place, people) in enumerate(zip(places, sizes, strict=True)):
        height = max(2.0, people * unit)
        name = others if place.merchant_id is None else place.name or ""
        bars.append(Bar(name, people, x, y, height, number % COLOURS, is_left))
        # Names need a line each, however thin their bars are.
        y += max(height + GAP, 24)
    return bars
