"""The inbox: every event once, with all its local effects and its reply, in one transaction (EV-1 to EV-3).

Events of concurrent requests may share a transaction; each then costs a fraction of a commit, and a batch that
fails is stored not at all.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from bot import benefits, effects, lookups, staff_links, store, wishes
from bot.answering import Answered
from bot.benefits import Asked
from bot.book import EMPTY, Book, Keeper
from bot.changes import Changes, no_changes, write_changes, write_replies
from bot.context import Question
from bot.effects import Effects, Known, Outcome, Step
from bot.events import Event
from bot.handlers import reply_to
from bot.models import DeadLetter
from bot.robot import Happened, render
from bot.talks import intake, sending
from campaigns.broadcasts import hello
from campaigns.coupons import cards
from campaigns.referrals import binding
from core import audit, outbox
from core.clock import month_of
from core.database import Role
from core.runtime import Runtime
from merchants import identities, merchants
from merchants.following import Fact
from merchants.models import EpisodeSource, OfficialAccount
from qrcodes import rules, welcomes
from qrcodes.attribution import Owner, Rules
from qrcodes.welcomes import Message
from wechat.replies import PassiveReply, from_json, to_json

SIGN_KINDS = tuple(
    sorted({kind.kind for kind in effects.kinds_of_events() if kind.proves_follow and kind.kind != "subscribe"})
)
ACCOUNT_REFRESH_S = 30.0
DESK = "/auth/wechat"
"""Where staff who open it inside WeChat are signed in without typing."""
PRIVACY = "/m/privacy"
"""Where owners see all that is stored about them."""
log = structlog.get_logger(__name__)

DEAD_LETTER_KEEPS = 8_192
"""Characters of an unusable body that are kept for the operator."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account this installation serves."""

    id: int
    original_id: str
    name: str
    live_since: datetime
    rules: Rules
    """Whose fan somebody is; a new version is known here well before it comes into force."""


@dataclass(slots=True)
class _Arrival:
    """One event of a batch on its way through."""

    event: Event
    person: bytes | None
    fact: Fact | None
    follower: store.StoredFollower | None = None
    is_duplicate: bool = False
    inbox_id: int = 0
    effects: Effects | None = None
    reply: PassiveReply | None = None


class Inbox:
    """Takes in events; one per process, safe to use from several threads."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._account: tuple[float, Account] | None = None
        self._books = Keeper()

    @property
    def account(self) -> Account:
        """The configured account, registered with the first look at it; read anew now and then, as its name may change.

        Raises `OtherAccount` where the database belongs to another one.
        """
        if self._account is None or time.monotonic() - self._account[0] > ACCOUNT_REFRESH_S:
            with self._runtime.transaction(Role.PLATFORM) as session:
                account_id = merchants.ensure_account(session, self._runtime.settings)
                row = session.get_one(OfficialAccount, account_id)
                self._account = (
                    time.monotonic(),
                    Account(row.id, row.original_id, row.name, row.live_since, rules.all_versions(session)),
                )
        return self._account[1]

    def receive(self, events: Sequence[Event]) -> list[str | None]:
        """Take in events in one transaction, no two of one follower; returns the reply XML of each, None for `success`.

        A repeated event changes nothing and gets the words it was answered with the first time (EV-13, EV-17).
        Anything that prevents the commit is raised, and then nothing of the batch is stored.
        """
        with self._runtime.transaction(Role.PLATFORM) as session:
            arrivals = self.record(session, events)
        return [
            None if arrival.reply is None else render(arrival.event, self.account.original_id, arrival.reply)
            for arrival in arrivals
        ]

    def bury(self, body: bytes, reason: str) -> None:
        """Keep an authentic delivery that cannot be used, for the operator to look at; a repeat only counts up."""
        text = body[: DEAD_LETTER_KEEPS * 4].decode("utf-8", "replace").replace("\x00", "")[:DEAD_LETTER_KEEPS]
        statement = insert(DeadLetter).values(
            account_id=self.account.id, digest=hashlib.sha256(body).digest(), reason=reason, body=text
        )
        with self._runtime.transaction(Role.PLATFORM) as session:
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=["digest"],
                    set_={"deliveries": DeadLetter.deliveries + 1, "received_at": func.app_now()},
                )
            )

    def record(
        self,
        session: Session,
        events: Sequence[Event],
        source: EpisodeSource = EpisodeSource.EVENT,
        *,
        people: Sequence[bytes] | None = None,
    ) -> list[_Arrival]:
        """Apply events within the caller's transaction. What did not come from WeChat (`source`) is never answered.

        `people` are the person keys the events are about, in their order, where the openids are forgotten.
        """
        if not events:
            return []
        connection = store.driver(session)
        arrivals = [self._arrive(event, source) for event in events]
        for arrival, person in zip(arrivals, people or (), strict=people is not None):
            arrival.person = person
        followers = store.lock_followers(
            connection,
            self.account.id,
            {a.person: (a.event.openid, a.event.occurred_at) for a in arrivals if a.person and a.fact},
            [a.person for a in arrivals if a.person and not a.fact],
        )
        for arrival in arrivals:
            arrival.follower = followers.get(arrival.person) if arrival.person else None
        seen = self._glimpse(connection, arrivals)
        fresh: dict[str, _Arrival] = {}
        impostors: list[_Arrival] = []
        for arrival in arrivals:
            key = arrival.event.dedupe_key
            twin, stored = fresh.get(key), seen.taken_in.get(key)
            if twin is None and stored is None:
                fresh[key] = arrival
                continue
            arrival.is_duplicate = True
            if not (twin.event == arrival.event if twin else stored and _is_same(arrival, stored)):
                impostors.append(arrival)
            elif stored and stored.reply is not None:
                arrival.reply = from_json(stored.reply)
        if impostors:
            _refuse(session, connection, impostors)
        if fresh:
            self._apply(session, connection, list(fresh.values()), seen, source)
        return arrivals

    def _glimpse(self, connection: store.Driver, arrivals: Sequence[_Arrival]) -> store.Glimpse:
        return store.glimpse(
            connection,
            self.account.id,
            book_read=self._books.number,
            keys={a.event.dedupe_key: month_of(a.event.occurred_at) for a in arrivals},
            follower_ids=[a.follower.id for a in arrivals if a.follower and a.fact],
            scans={(scene, a.event.occurred_at) for a in arrivals if (scene := effects.scene_of(a.event)) is not None},
            messages={
                a.follower.id: a.event.occurred_at
                for a in arrivals
                if a.follower and effects.trigger_of(a.event) and effects.scene_of(a.event) is None
            },
            scanners=[a.follower.id for a in arrivals if a.follower and effects.is_scan(a.event)],
            staff_scenes={scene for a in arrivals if (scene := staff_links.scene_of(a.event)) is not None},
            writers_of_numbers=[a.follower.id for a in arrivals if a.follower and staff_links.number_in(a.event)],
            writers=[a.follower.id for a in arrivals if a.follower and effects.is_for_somebody(a.event)],
            keywords={
                said
                for a in arrivals
                if a.follower and (said := benefits.keyword_in(effects.spoken(a.event))) is not None
            },
            callers={
                a.follower.id: a.event.occurred_at for a in arrivals if a.follower and effects.trigger_of(a.event)
            },
        )

    def _arrive(self, event: Event, source: EpisodeSource) -> _Arrival:
        fact = effects.fact_of(event, source) if event.has_sender else None
        person = self.person_key(event.openid) if event.has_sender and event.openid else None
        return _Arrival(event, person, fact)

    def person_key(self, openid: str) -> bytes:
        """The key of `merchants.identities`, under which a follower is found."""
        return identities.person_key(self._runtime, openid)

    def fan_number(self, merchant_id: int, follower_id: int) -> str:
        """What a merchant calls a fan; the same person has another number at the next merchant (FA-8)."""
        return identities.fan_number(self._runtime, merchant_id, follower_id)

    def _apply(
        self,
        session: Session,
        connection: store.Driver,
        arrivals: list[_Arrival],
        seen: store.Glimpse,
        source: EpisodeSource,
    ) -> None:
        book = EMPTY
        if source is EpisodeSource.EVENT:
            book = self._books.at(session, self.account.id, seen.book_number, seen.book_pages)
        known = self._know(connection, arrivals, seen, book)
        changes = no_changes()
        if told_again := sum(_retold(one) for one in known):
            store.reserve_more(connection, seen.ids, told_again)
        for arrival, what in zip(arrivals, known, strict=True):
            arrival.inbox_id = seen.ids.inbox.pop()
            arrival.effects = effects.apply(
                arrival.event,
                source=source,
                inbox_id=arrival.inbox_id,
                known=what,
                ids=seen.ids,
                changes=changes,
                fan_number=self.fan_number,
            )
            _write_down(session, arrival.effects.outcome.staff)
        asking = {a.inbox_id for a in arrivals if a.effects and a.effects.outcome.is_asking}
        if source is EpisodeSource.EVENT:
            self._word_replies(session, arrivals, known, changes, but=asking)
        for arrival, what in zip(arrivals, known, strict=True):
            changes["inbox"].append(self._inbox_row(arrival, what, source))
        write_changes(connection, changes)
        if asking:
            self._meet(
                session, connection, [one for one in zip(arrivals, known, strict=True) if one[0].inbox_id in asking]
            )
        outbox.add_many(session, list(_owed(arrivals, known, changes)))
        outbox.add_many(session, list(_greetings(arrivals, known)), delay=hello.AFTER)
        outbox.add_many(session, list(_hellos(arrivals, known)), delay=sending.AFTER_HELLO)
        outbox.add_many(session, list(_brought(arrivals, known)), delay=binding.AFTER)

    def _know(self, connection: store.Driver, arrivals: list[_Arrival], seen: store.Glimpse, book: Book) -> list[Known]:
        """What is known about each event; the whole history only where the newest episode does not decide."""
        deep = [
            a.follower.id
            for a in arrivals
            if a.follower and a.fact and effects.needs_history(a.fact, a.follower, seen.last.get(a.follower.id))
        ]
        episodes = store.all_episodes(connection, deep) if deep else {}
        facts = store.told_facts(connection, deep, SIGN_KINDS) if deep else {}
        told = {(fact.scene, fact.at) for one in facts.values() for fact in one if fact.scene is not None}
        codes = seen.codes | store.codes_at(connection, self.account.id, told - seen.codes.keys())

        def owner_at(scene: str, at: datetime) -> Owner | None:
            code = codes.get((scene, at))
            return None if code is None else code.owner

        kept = _kept(connection, arrivals, seen.questions)
        known = []
        for arrival in arrivals:
            follower_id = None if arrival.follower is None else arrival.follower.id
            is_deep = follower_id in deep
            known.append(
                Known(
                    account_id=self.account.id,
                    follower=arrival.follower,
                    last=seen.last.get(follower_id) if follower_id else None,
                    history=(episodes.get(follower_id, []), facts.get(follower_id, []))
                    if follower_id and is_deep
                    else None,
                    code=codes.get((effects.scene_of(arrival.event) or "", arrival.event.occurred_at)),
                    context=seen.contexts.get(follower_id) if follower_id else None,
                    owner_at=owner_at,
                    posts=seen.posts.get(follower_id, ()) if follower_id else (),
                    trials=seen.trials.get(effects.scene_of(arrival.event) or "", ()),
                    link=staff_links.find(arrival.event, follower_id, seen.links),
                    rules=self.account.rules,
                    subscriptions=wishes.Subscriptions(seen.shops.get(follower_id, ()), follower_id in seen.opted_out)
                    if follower_id
                    else wishes.NO_SUBSCRIPTIONS,
                    keyword_template_id=seen.keywords.get(
                        benefits.keyword_in(effects.spoken(arrival.event)) or "" if seen.keywords else ""
                    ),
                    waiting={merchant_id for caller_id, merchant_id in seen.hellos if caller_id == follower_id},
                    question=seen.questions.get(follower_id) if follower_id else None,
                    kept=[one for one in kept if one.follower_id == follower_id],
                    talks={
                        merchant_id: talk
                        for (writer_id, merchant_id), talk in seen.talks.items()
                        if writer_id == follower_id
                    },
                    book=book,
                    account_name=self.account.name,
                )
            )
        return known

    def _meet(self, session: Session, connection: store.Driver, asking: Sequence[tuple[_Arrival, Known]]) -> None:
        """Give what was asked for about coupons and points, and look up what was asked, now that the batch's own rows
        are there, and say so."""
        asked = [
            Asked(
                arrival.inbox_id, what.follower.id, arrival.event.occurred_at, arrival.effects.outcome.ask,
                what.subscriptions.shops, what.merchant_id,
            )
            for arrival, what in asking
            if what.follower is not None and arrival.effects is not None and arrival.effects.outcome.ask is not None
        ]  # fmt: skip
        public_url = self._runtime.settings.public_url
        given = benefits.act(session, asked, public_url=public_url)
        looked_up = lookups.act(
            session,
            [
                lookups.Asked(a.inbox_id, what.follower.id, a.event.occurred_at, a.effects.outcome.answer.lookup)
                for a, what in asking
                if what.follower is not None and a.effects is not None and a.effects.outcome.answer.lookup is not None
            ],
            account_id=self.account.id,
            public_url=public_url,
        )
        for arrival, _ in asking:
            if arrival.effects is not None:
                arrival.effects.outcome.benefit = given.get(arrival.inbox_id)
                arrival.effects.outcome.found = looked_up.get(arrival.inbox_id)
        self._word_replies(session, [a for a, _ in asking], [what for _, what in asking], no_changes())
        rows = [
            {"id": a.inbox_id, "month": month_of(a.event.occurred_at), "reply": to_json(a.reply)}
            for a, _ in asking
            if a.reply is not None
        ]
        if rows:
            write_replies(connection, rows)

    def _word_replies(
        self,
        session: Session,
        arrivals: list[_Arrival],
        known: list[Known],
        changes: Changes,
        *,
        but: Collection[int] = (),
    ) -> None:
        """Let the handlers word the replies; a stale event is never answered (EV-6), and nobody who stays forgotten.

        `but` are those, by inbox id, whose answer is not known yet.
        """
        speaking = [
            (a, what, a.effects.outcome)
            for a, what in zip(arrivals, known, strict=True)
            if a.effects
            and not (a.effects.outcome.is_stale or a.effects.outcome.is_forgotten)
            and a.inbox_id not in but
        ]
        wanted = {_welcome_key(outcome) for _, _, outcome in speaking if outcome.variant is not None}
        texts = welcomes.resolve_many(session, wanted) if wanted else {}
        offered = cards.of(session, {said[0].template_id for said in texts.values() if said[0].template_id is not None})
        for arrival, what, outcome in speaking:
            chosen = texts.get((*_welcome_key(outcome), outcome.variant), []) if outcome.variant else []
            arrival.reply = reply_to(
                Happened(
                    arrival.event,
                    outcome,
                    chosen,
                    self.account.name,
                    page_url=self._page_url(outcome),
                    desk_url=f"{self._runtime.settings.public_url}{DESK}",
                    privacy_url=f"{self._runtime.settings.public_url}{PRIVACY}",
                    coupon=self._coupon(outcome, chosen, offered),
                )
            )
            if what.follower is None or arrival.reply is None:
                continue
            changes["follow_ups"].extend(
                {"inbox_id": arrival.inbox_id, "follower_id": what.follower.id, "welcome_id": welcome.id,
                 "position": welcome.position}
                for welcome in chosen
                if welcome.position > 0 and welcome.id is not None
            )  # fmt: skip
            changes["follow_ups"].extend(_rest_of_rule(arrival, what.follower.id, outcome))

    def _coupon(
        self, outcome: Outcome, chosen: Sequence[Message], offered: Mapping[int, cards.Card]
    ) -> welcomes.Card | None:
        """What a welcome offers, with the link that says by which code it came."""
        card = offered.get(chosen[0].template_id or 0) if chosen else None
        if card is None or outcome.code is None:
            return None
        url = card.address(self._runtime.settings.public_url, code=outcome.code.public_id)
        return welcomes.Card(card.words, url)

    def _page_url(self, outcome: Outcome) -> str:
        return "" if outcome.code is None else f"{self._runtime.settings.public_url}/q/{outcome.code.public_id}"

    def _inbox_row(self, arrival: _Arrival, known: Known, source: EpisodeSource) -> dict[str, Any]:
        event, follower = arrival.event, known.follower
        is_forgotten = arrival.effects is not None and arrival.effects.outcome.is_forgotten
        return {
            "id": arrival.inbox_id,
            "month": month_of(event.occurred_at),
            "account_id": self.account.id,
            "dedupe_key": event.dedupe_key,
            "source": source,
            "kind": event.kind,
            "event_at": event.occurred_at,
            "follower_id": follower and follower.id,
            "scene": effects.scene_of(event),
            "body": None if is_forgotten else dict(event.fields),
            "reply": None if arrival.reply is None else to_json(arrival.reply),
            **(_answered(arrival) if source is EpisodeSource.EVENT else {}),
        }


def _is_same(arrival: _Arrival, stored: store.TakenIn) -> bool:
    """Whether a known dedupe key comes with what it came with before: a MsgId names one message of one person."""
    event, follower_id = arrival.event, arrival.follower.id if arrival.follower else None
    is_same_event = (event.kind, event.occurred_at, follower_id) == (stored.kind, stored.event_at, stored.follower_id)
    return is_same_event and (stored.body is None or stored.body == dict(event.fields))


def _refuse(session: Session, connection: store.Driver, impostors: Sequence[_Arrival]) -> None:
    """Count a MsgId that came again with something else as the duplicate it claims to be, and tell the operator.

    Its sender gets no words meant for another, and leaves no trace where we had not met before.
    """
    for arrival in impostors:
        log.error("a message id was used again", kind=arrival.event.kind, dedupe_key=arrival.event.dedupe_key)
        detail = {"kind": arrival.event.kind, "dedupe_key": arrival.event.dedupe_key}
        audit.record(session, actor_kind="system", action="event.reused_id", detail=detail)
    strangers = [arrival.follower.id for arrival in impostors if arrival.follower and arrival.follower.is_added]
    if strangers:
        store.drop_followers(connection, strangers)


def _write_down(session: Session, answer: staff_links.Answer | None) -> None:
    """A sign-in that was refused in the chat is an entry of the audit log."""
    if answer is not None and answer.link is not None and answer.came is staff_links.Came.REFUSED:
        link, who = f"link:{answer.link.id}", answer.follower_id
        audit.record(session, actor_kind="follower", actor_id=who, action="sign_in.refused", subject=link)


def _kept(
    connection: store.Driver, arrivals: Iterable[_Arrival], questions: Mapping[int, Question]
) -> list[store.Waiting]:
    """The messages that wait until their writer has said for which shop they are, where that may be known now."""
    wanted = [
        inbox_id
        for a in arrivals
        if a.follower and effects.is_for_somebody(a.event) and (question := questions.get(a.follower.id)) is not None
        if question.may_pass(a.event.occurred_at)
        for inbox_id in question.inbox_ids
    ]
    return store.waiting(connection, wanted) if wanted else []


def _answered(arrival: _Arrival) -> dict[str, Any]:
    """Who had the answer, by which rule, in whose conversation."""
    if arrival.effects is None:
        return {"answered_by": Answered.NONE}
    outcome = arrival.effects.outcome
    by, rule = outcome.answer.by, outcome.answer.rule
    if by is Answered.NONE and arrival.reply is not None:
        by = Answered.WELCOME
    return {"answered_by": by, "rule_id": rule and rule.id, "merchant_id": outcome.answer.merchant_id}


def _rest_of_rule(arrival: _Arrival, follower_id: int, outcome: Outcome) -> Iterable[dict[str, Any]]:
    """What a rule says after its first answer."""
    rule = outcome.answer.rule
    for position in range(1, len(rule.answers) if rule is not None else 0):
        yield {"inbox_id": arrival.inbox_id, "follower_id": follower_id, "rule_id": rule and rule.id,
               "position": position}  # fmt: skip


def _retold(known: Known) -> int:
    """How many episodes and attributions a history that is told again may hold beyond one of each."""
    return 0 if known.history is None else 1 + len(known.history[0]) + len(known.history[1])


def _welcome_key(outcome: Outcome) -> tuple[int | None, int | None]:
    return (None, None) if outcome.code is None else (outcome.code.owner.merchant_id, outcome.code.owner.code_id)


def _owed(arrivals: Iterable[_Arrival], known: Iterable[Known], changes: Changes) -> Iterable[dict[str, Any]]:
    """Outbox rows for all that needs the network."""
    for arrival, what in zip(arrivals, known, strict=True):
        if arrival.effects is None or what.follower is None:
            continue
        for step in arrival.effects.steps:
            yield outbox.row(
                kind=step, dedupe_key=f"{step}:{arrival.inbox_id}", payload=_payload(step, what.follower.id)
            )
        if arrival.effects.outcome.said is not None:
            yield from intake.owed(arrival.effects.outcome.said)
    for row in changes["follow_ups"]:
        yield outbox.row(
            kind="send_follow_up",
            queue=outbox.MESSAGES,
            dedupe_key=f"follow_up:{row['inbox_id']}:{row['position']}",
            payload={"inbox_id": row["inbox_id"], "position": row["position"]},
        )


def _hellos(arrivals: Iterable[_Arrival], known: Iterable[Known]) -> Iterable[dict[str, Any]]:
    """Outbox rows for the answers of a merchant's people that waited until somebody turned to it again."""
    for arrival, what in zip(arrivals, known, strict=True):
        if arrival.effects is None or arrival.effects.turns_to is None:
            continue
        talk = what.talks.get(arrival.effects.turns_to)
        if talk is not None and talk.waiting_out:
            yield sending.hello_row(talk_id=talk.talk_id, inbox_id=arrival.inbox_id)


def _greetings(arrivals: Iterable[_Arrival], known: Iterable[Known]) -> Iterable[dict[str, Any]]:
    """Outbox rows for the messages that waited for these followers."""
    for arrival, what in zip(arrivals, known, strict=True):
        if arrival.effects is None or what.follower is None or arrival.effects.greets is None:
            continue
        yield hello.row(inbox_id=arrival.inbox_id, follower_id=what.follower.id, merchant_id=arrival.effects.greets)


def _brought(arrivals: Iterable[_Arrival], known: Iterable[Known]) -> Iterable[dict[str, Any]]:
    """Outbox rows for follows that fans' cards led to."""
    for arrival, what in zip(arrivals, known, strict=True):
        if arrival.effects is None or what.follower is None or what.code is None or not arrival.effects.is_brought:
            continue
        yield binding.row(
            inbox_id=arrival.inbox_id,
            follower_id=what.follower.id,
            code_id=what.code.owner.code_id,
            at=arrival.event.occurred_at,
        )


def _payload(step: Step, follower_id: int) -> dict[str, Any]:
    if step is Step.ERASE_FOLLOWER:
        return {"follower_id": follower_id, "reason": "request"}
    return {"follower_id": follower_id}
