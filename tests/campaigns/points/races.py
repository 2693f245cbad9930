"""Several who do the same thing at the same moment, again and again, with small pauses where they hurt."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from core.database import Database, Role
from core.errors import BusinessError

ROUNDS = 200
PAUSE_S = 0.002

Act = Callable[[int, int], object]
"""What one does: given who (0, 1, …) and the round's number."""


def race(actors: int, act: Act, *, rounds: int = ROUNDS) -> list[list[object]]:
    """What came of each round: by actor, what they got, or the error that refused them."""
    came: list[list[object]] = [[None] * actors for _ in range(rounds)]
    start = threading.Barrier(actors)
    broken: list[BaseException] = []

    def run(who: int) -> None:
        for number in range(rounds):
            start.wait(60)
            try:
                came[number][who] = act(who, number)
            except (BusinessError, DBAPIError) as error:
                came[number][who] = error
            except BaseException as error:
                broken.append(error)
                start.abort()
                raise

    threads = [threading.Thread(target=run, args=(who,), daemon=True) for who in range(actors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not broken, broken
    return came


def pause() -> None:
    """Somebody else's moment."""
    time.sleep(random.uniform(0, PAUSE_S))


@contextlib.contextmanager
def pauses(database: Database, *roles: Role, chance: float = 0.3) -> Iterator[None]:
    """Now and then a statement of these roles waits a little before it is sent."""

    def wait(*_: Any) -> None:
        if random.random() < chance:
            pause()

    engines = [database.engine(role) for role in roles]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", wait)
    try:
        yield
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", wait)
