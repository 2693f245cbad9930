"""Faults on demand: rules that make the platform misbehave for the next calls or pushes.

For a call, `errcode` refuses it. With `"accept": true` the call is carried out and answered with that errcode all the
same, its own ids beside it. Without, an `errcode` of 45065 names the batch in `msg_id`, else the latest one: somebody
else's. `mass_status`, such as "err(20001)", lets a mass send be accepted and then end so; it reaches nobody.

For a push, `latency_ms` comes first; a mass send stays SENDING until its MASSSENDJOBFINISH leaves or is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from sandbox.jsontext import JsonObject

API_DEEDS = frozenset(
    {
        *("latency_ms", "errcode", "errmsg", "lost_reply", "html", "truncate", "status", "revoke_token"),
        *("accept", "msg_id", "mass_status"),
    }
)
PUSH_DEEDS = frozenset({"latency_ms", "lost_reply", "drop", "duplicate", "reorder"})
NUMBERS = frozenset({"latency_ms", "errcode", "status", "duplicate", "msg_id"})


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
    if {"accept", "msg_id"} & set(do) and "errcode" not in do:
        raise BadRule("accept and msg_id say more about an errcode")
    if not isinstance(do.get("mass_status", ""), str):
        raise BadRule("mass_status is a text")
    return Rule(push=push, do=do, path=match.get("path"), event=match.get("event"), next=count)
