"""Faults on demand: rules that make the platform misbehave for the next calls or pushes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from sandbox.jsontext import JsonObject

API_DEEDS = frozenset({"latency_ms", "errcode", "errmsg", "lost_reply", "html", "truncate", "status", "revoke_token"})
PUSH_DEEDS = frozenset({"latency_ms", "lost_reply", "drop", "duplicate", "reorder"})
NUMBERS = frozenset({"latency_ms", "errcode", "status", "duplicate"})


class BadRule(ValueError):
    """A rule that says nothing the sandbox understands."""


@dataclass
class Rule:
    """Do this to the next `next` matching calls or pushes; None: until cleared."""

    push: bool
    do: JsonObject
    path: str | None = None
    event: str | None = None
    next: int | None = None
    fired: int = field(default=0)


class Faults:
    """The rules in force, oldest first. They do not survive a restart."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def take_api(self, path: str) -> JsonObject:
        """What to do to this API call; empty when nothing."""
        return self._take(lambda rule: not rule.push and rule.path in (None, path)) if self.rules else {}

    def take_push(self, event: str) -> JsonObject:
        """What to do to this push; empty when nothing."""
        return self._take(lambda rule: rule.push and rule.event in (None, event)) if self.rules else {}

    def _take(self, matches: Callable[[Rule], bool]) -> JsonObject:
        rule = next(filter(matches, self.rules), None)
        if rule is None:
            return {}
        rule.fired += 1
        if rule.next is not None:
            rule.next -= 1
            if rule.next <= 0:
                self.rules.remove(rule)
        return rule.do

    def as_json(self) -> JsonObject:
        """The rules as the control API shows them."""
        return {"rules": [asdict(rule) for rule in self.rules]}


def parse_rule(value: object) -> Rule:
    """A rule from the control API; raises BadRule."""
    if not isinstance(value, dict) or set(value) - {"match", "next", "do"}:
        raise BadRule("a rule has match, next and do")
    match, count, do = value.get("match", {}), value.get("next", 1), value.get("do")
    if not isinstance(match, dict) or set(match) - {"path", "push", "event"}:
        raise BadRule("match has path, push and event")
    if count is not None and (not isinstance(count, int) or count < 1):
        raise BadRule("next is a number from 1, or null")
    push = bool(match.get("push") or match.get("event"))
    known = PUSH_DEEDS if push else API_DEEDS
    if not isinstance(do, dict) or not do or set(do) - known:
        raise BadRule(f"do has one of {', '.join(sorted(known))}")
    if any(not isinstance(do[name], int) or isinstance(do[name], bool) for name in NUMBERS & set(do)):
        raise BadRule(f"{', '.join(sorted(NUMBERS))} are numbers")
    return Rule(push=push, do=do, path=match.get("path"), event=match.get("event"), next=count)
