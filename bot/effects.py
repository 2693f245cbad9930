"""What an event does, decided before anything is written: a typed `match` over every kind of event.

Nothing here touches the database; `bot.inbox` reads what is needed first and writes the result after.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from bot import answering, benefits, own_words, staff_links, wishes
from bot.answering import Answer, Answered, Situation
from bot.book import EMPTY, Book
from bot.changes import Changes
from bot.context import Context, Question
from bot.episodes import write_episodes
from bot.events import (
    AuthorizationCancelled,
    Event,
    LocationMessage,
    MassSendFinished,
    MenuClicked,
    MenuScanned,
    Message,
    Scanned,
    Subscribed,
    TextMessage,
    Unsubscribed,
)
from bot.menus import buttons
from bot.store import (
    CodeSeen,
    Ids,
    Post,
    StoredEpisode,
    StoredFollower,
    StoredLink,
    StoredTrial,
    Waiting,
)
from bot.talks import intake
from bot.talks.intake import TalkSeen
from bot.talks.models import Kind
from core.clock import month_of
from merchants import links
from merchants.following import Episode, Fact, FactKind, Following, fold, is_same_follow
from merchants.models import EpisodeSource, FollowStatus
from qrcodes.attribution import FORMER_MERCHANT, Credit, Owner, OwnerAt, Rules, credit, credits
from qrcodes.models import AttributionKind, CodeKind, WelcomeVariant
from wechat.limits import WINDOWS, WindowTrigger
from wechat.replies import Reply, TextReply

ERASE_AFTER: Final = timedelta(hours=24)
ERASE_AFTER_SILENT_LEAVE: Final = timedelta(days=7)
"""When only the reconciler noticed that somebody left, there is more room for an error of ours (FA-2)."""

MOST_BIGINT: Final = 2**63 - 1
MOST_INTEGER: Final = 2**31 - 1


class Step(StrEnum):
    """Work an event leaves for the network, as kinds of outbox tasks."""

    CHECK_FOLLOWER = "check_follower"
    ERASE_FOLLOWER = "erase_follower"


@dataclass(slots=True)
class Outcome:
    """What came of one event: what its reply may need to know."""

    variant: WelcomeVariant | None = None
    """Which welcome fits; None where the event is not answered with one."""
    code: CodeSeen | None = None
    is_stale: bool = False
    is_forgotten: bool = False
    """It is about somebody erased and does not bring them back: it is counted, and nothing of it is kept."""
    staff: staff_links.Answer | None = None
    """What it did to a staff code: then this is what is answered, and nothing else."""
    granted: wishes.Granted | None = None
    """What it asked for about broadcasts, and got."""
    ask: benefits.Ask | None = None
    """What it asks for about coupons and points."""
    benefit: str | None = None
    """What is answered to that, once it is done."""
    answer: Answer = field(default_factory=Answer)
    """Who answers, and with what."""
    found: str | None = None
    """What was looked up."""
    said: intake.Said | None = None
    """What went into a merchant's inbox."""

    @property
    def is_asking(self) -> bool:
        """Whether the answer is known only once the batch's rows are there."""
        return self.ask is not None or self.answer.lookup is not None


@dataclass(slots=True)
class Known:
    """What the database holds about one event's follower and code, locked and read for this batch."""

    account_id: int
    follower: StoredFollower | None
    last: StoredEpisode | None
    history: tuple[list[StoredEpisode], list[Fact]] | None
    """All episodes and all facts told before, where the newest episode alone does not decide."""
    code: CodeSeen | None
    context: Context | None
    """Whom the follower talked to until then."""
    owner_at: OwnerAt
    rules: Rules
    posts: Sequence[Post] = ()
    """Where the follower works or has worked."""
    trials: Sequence[StoredTrial] = ()
    """What waits for the next scan of this code."""
    link: StoredLink | None = None
    """The staff code that was scanned, or whose number this may be."""
    subscriptions: wishes.Subscriptions = wishes.NO_SUBSCRIPTIONS
    """Whose fan the writer of a wish is."""
    keyword_template_id: int | None = None
    """The coupon of the keyword that was written."""
    waiting: Collection[int] = ()
    """Merchants whose message waits for the next time this follower turns to them."""
    question: Question | None = None
    """What the follower was asked last."""
    kept: Sequence[Waiting] = ()
    """Messages that wait for the answer to it."""
    talks: Mapping[int, TalkSeen] = field(default_factory=dict)
    """The follower's talks of the last days, by merchant."""
    book: Book = EMPTY
    account_name: str = ""

    @property
    def merchant_id(self) -> int | None:
        """Whose conversation it is: the owner's of the scanned code, or of the one scanned before."""
        if self.code is not None:
            return self.code.owner.merchant_id
        return None if self.context is None else self.context.merchant_id


@dataclass(slots=True)
class Effects:
    outcome: Outcome
    steps: list[Step] = field(default_factory=list)
    greets: int | None = None
    """The merchant whose waiting message is added after the answer."""
    turns_to: int | None = None
    """The merchant that can say something now: what its people wrote meanwhile goes out."""
    is_brought: bool = False
    """A fan's card led to the follow: who brought them is noted once everything that came before has been told."""


def fact_of(event: Event, source: EpisodeSource) -> Fact | None:
    """What the event says about following; None when it says nothing."""
    match event:
        case Subscribed():
            return Fact(event.occurred_at, FactKind.FOLLOW, source, scene_of(event))
        case Unsubscribed() | AuthorizationCancelled():
            return Fact(event.occurred_at, FactKind.LEAVE, source)
        case _ if event.proves_follow:
            return Fact(event.occurred_at, FactKind.SIGN, source)
        case _:
            return None


def scene_of(event: Event) -> str | None:
    """The scene a scan carried, whether it led to a follow or not. A staff code is nobody's traffic: it has none."""
    match event:
        case Subscribed(scene=scene) | Scanned(scene=scene):
            return None if scene is None or links.is_scene(scene) else scene
        case _:
            return None


def is_scan(event: Event) -> bool:
    """Whether somebody scanned a code, ours or a merchant's."""
    return isinstance(event, Subscribed | Scanned) and event.scene is not None


def trigger_of(event: Event) -> WindowTrigger | None:
    """The customer-service window the event opens."""
    match event:
        case Message():
            return WindowTrigger.MESSAGE
        case MenuClicked() | MenuScanned():
            return WindowTrigger.MENU_CLICK
        case Subscribed():
            return WindowTrigger.FOLLOW
        case Scanned():
            return WindowTrigger.SCAN
        case _:
            return None


def spoken(event: Event) -> Event:
    """The event as what it says: a menu entry that stands for words says them."""
    match event:
        case MenuClicked(key=key) if key.startswith(buttons.WORDS):
            said = key.removeprefix(buttons.WORDS)
            return TextMessage(
                openid=event.openid, occurred_at=event.occurred_at, dedupe_key=event.dedupe_key, fields={}, content=said
            )
        case _:
            return event


def is_for_somebody(event: Event) -> bool:
    """Whether somebody answers it: it was written, sent or tapped."""
    return isinstance(event, Message | MenuClicked)


def needs_history(fact: Fact, follower: StoredFollower, last: StoredEpisode | None) -> bool:
    """Whether the newest episode alone cannot tell what the fact means: it came late, or retells a follow."""
    if follower.as_of is None:
        return False
    if fact.at > follower.as_of:
        return fact.kind is FactKind.FOLLOW and last is not None and is_same_follow(last.episode, fact)
    is_inside = last is not None and last.episode.ended_at is None and fact.at >= last.episode.started_at
    return not (fact.kind is FactKind.SIGN and is_inside and follower.status is FollowStatus.FOLLOWING)


def apply(
    event: Event,
    *,
    source: EpisodeSource,
    inbox_id: int,
    known: Known,
    ids: Ids,
    changes: Changes,
    fan_number: Callable[[int, int], str],
) -> Effects:
    """Add everything the event does to `changes`, except its own inbox row, and say what came of it."""
    follower = known.follower
    if follower is None:
        if isinstance(event, MassSendFinished):
            _write_report(event, known, changes)
        return Effects(Outcome())
    effects = Effects(Outcome(code=known.code))
    fact = fact_of(event, source)
    if fact is None:
        effects.outcome.is_forgotten = follower.erased_at is not None
        return effects
    is_stale = effects.outcome.is_stale = _is_stale(fact, follower)
    stored, following, verdicts = _follow_state(fact, known)
    # What comes late, or from who is gone, brings nobody back.
    brings_back = not is_stale and following.status is not FollowStatus.GONE
    effects.outcome.is_forgotten = follower.erased_at is not None and not brings_back
    write_episodes(follower.id, stored, following, verdicts, ids=ids, changes=changes)
    if is_stale:
        changes["seen"].append({"id": follower.id, "seen_at": fact.at})
    else:
        _write_follower(follower, fact, following, event=event, changes=changes)
        _plan_checks(following, effects)
    if source is not EpisodeSource.PRE_EXISTING:
        # What was scanned before the account went live here is nobody's traffic.
        _write_scan(event, fact, known, inbox_id=inbox_id, changes=changes)
    _write_fans(
        fact,
        event,
        known,
        following,
        verdicts,
        is_forgotten=effects.outcome.is_forgotten,
        changes=changes,
        fan_number=fan_number,
    )
    if source is EpisodeSource.EVENT:
        outcome = effects.outcome
        if not outcome.is_forgotten:
            _converse(event, known, effects, inbox_id=inbox_id, changes=changes, fan_number=fan_number)
        _write_window(event, known, outcome, inbox_id=inbox_id, changes=changes)
        if outcome.staff is None:
            outcome.variant = _welcome_variant(event, verdicts)
        effects.is_brought = _is_brought(event, known) and not outcome.is_forgotten
    if _asks_to_be_forgotten(event):
        # However late it comes: a request stays one until it is met.
        effects.steps.append(Step.ERASE_FOLLOWER)
    return effects


def _asks_to_be_forgotten(event: Event) -> bool:
    match event:
        case TextMessage(content=content):
            return own_words.erases(content)
        case _:
            return isinstance(event, AuthorizationCancelled)


def _converse(
    event: Event,
    known: Known,
    effects: Effects,
    *,
    inbox_id: int,
    changes: Changes,
    fan_number: Callable[[int, int], str],
) -> None:
    """Do what it asks for and decide who answers. However late it comes, what was asked at that moment is met, and
    only not answered any more."""
    outcome, said = effects.outcome, spoken(event)
    assert known.follower is not None  # noqa: S101
    if not outcome.is_stale:
        outcome.staff = staff_links.act(event, known.follower.id, link=known.link, posts=known.posts, changes=changes)
    outcome.granted = wishes.act(
        said,
        known.follower.id,
        known=known.subscriptions,
        context_merchant_id=known.merchant_id,
        is_late=outcome.is_stale,
        changes=changes,
    )
    if outcome.staff is None:
        outcome.ask = benefits.asked_in(said, template_id=known.keyword_template_id)
    outcome.answer = _answer(event, said, known, outcome, inbox_id=inbox_id)
    _write_answer(event, known, outcome, inbox_id=inbox_id, changes=changes, fan_number=fan_number)
    if outcome.is_stale:
        return
    effects.greets = _greets(event, known, outcome)
    if trigger_of(event) is not None and outcome.staff is None and not _asks_to_be_forgotten(event):
        effects.turns_to = _conversation(known, outcome)


def _answer(event: Event, said: Event, known: Known, outcome: Outcome, *, inbox_id: int) -> Answer:
    """Who answers; of a scan nobody is asked, it has its welcome."""
    if not is_for_somebody(event):
        by = Answered.NONE if outcome.staff is None else Answered.STAFF
        return Answer(by=by, merchant_id=known.merchant_id if is_scan(event) else None)
    place = event if isinstance(event, LocationMessage) else None
    asked = answering.Said(
        inbox_id,
        said.kind,
        event.occurred_at,
        text=said.content if isinstance(said, TextMessage) else "",
        menu_key=event.key if isinstance(event, MenuClicked) else "",
        latitude=None if place is None else place.latitude,
        longitude=None if place is None else place.longitude,
    )
    now = Situation(
        book=known.book,
        account_name=known.account_name,
        context=known.context,
        known=known.subscriptions.shops,
        question=known.question,
        talks=known.talks,
        late_by=known.follower.as_of - event.occurred_at if known.follower and known.follower.as_of else timedelta(0),
    )
    is_keyword = outcome.ask is not None and outcome.ask.what is benefits.Asks.KEYWORD
    answer = answering.decide(asked, now, claimed=_claimed(said, outcome), has_keyword=is_keyword)
    if is_keyword and answer.by is not Answered.KEYWORD:
        outcome.ask = None
    return answer


def _claimed(said: Event, outcome: Outcome) -> Answered | None:
    """Who has answered already: whatever is somebody's own comes before everything else."""
    if outcome.staff is not None:
        return Answered.STAFF
    if outcome.ask is not None and outcome.ask.what is not benefits.Asks.KEYWORD:
        return Answered.BENEFIT
    if outcome.granted is not None:
        return Answered.WISH
    is_own = isinstance(said, TextMessage) and own_words.is_one(said.content)
    return Answered.WORD if is_own else None


def _write_answer(
    event: Event,
    known: Known,
    outcome: Outcome,
    *,
    inbox_id: int,
    changes: Changes,
    fan_number: Callable[[int, int], str],
) -> None:
    """Whom one talks to from now on, what one was asked, and what goes into the merchant's inbox."""
    answer, follower = outcome.answer, known.follower
    assert follower is not None  # noqa: S101
    if answer.choice is not None:
        changes["choices"].append(
            {"inbox_id": inbox_id, "follower_id": follower.id, "merchant_id": answer.choice.merchant_id,
             "at": event.occurred_at, "by": answer.choice.by}
        )  # fmt: skip
    if answer.question is not None:
        asked = answer.question
        changes["questions"].append(
            {"follower_id": follower.id, "kind": asked.kind, "asked_at": asked.asked_at,
             "expires_at": asked.expires_at, "options": asked.stored_options, "inbox_ids": asked.inbox_ids,
             "enquiry_id": asked.enquiry_id}
        )  # fmt: skip
    elif answer.is_settled:
        changes["settled_questions"].append({"id": follower.id})
    if answer.rating is not None and answer.enquiry_id is not None:
        _add(changes, intake.rating(enquiry_id=answer.enquiry_id, satisfaction=answer.rating, at=event.occurred_at))
    if answer.merchant_id is None:
        return
    number = fan_number(answer.merchant_id, follower.id)
    content = intake.content_of(spoken(event)) if answer.is_for_people else None
    passed = known.kept if answer.passes else ()
    for one in passed:
        # What the chat says to a choice is said about what waited for it.
        is_answered = content is None and one is passed[-1]
        _add(changes, intake.rows(intake.Said(
            answer.merchant_id, follower.id, number, one.inbox_id, one.at, Kind.TEXT, one.text,
            auto=_said_by_itself(answer) if is_answered else (), auto_by=intake.LINE)))  # fmt: skip
    if content is not None:
        kind, text, media = content
        by_rule = answer.rule.name if answer.rule is not None else intake.LINE
        outcome.said = intake.Said(
            answer.merchant_id, follower.id, number, inbox_id, event.occurred_at, kind, text, media,
            auto=_said_by_itself(answer), auto_by=by_rule, waits=answer.waits,
        )  # fmt: skip
        _add(changes, intake.rows(outcome.said))


def _said_by_itself(answer: Answer) -> Sequence[Reply]:
    if answer.rule is not None and answer.rule.answers:
        return answer.rule.answers
    return (TextReply(answer.words),) if answer.words else ()


def _add(changes: Changes, rows: Changes) -> None:
    for name, some in rows.items():
        changes[name].extend(some)


def _is_brought(event: Event, known: Known) -> bool:
    return isinstance(event, Subscribed) and known.code is not None and known.code.kind == CodeKind.INVITE


def _is_stale(fact: Fact, follower: StoredFollower) -> bool:
    return follower.as_of is not None and fact.at < follower.as_of


def _follow_state(fact: Fact, known: Known) -> tuple[list[StoredEpisode], Following, list[Credit]]:
    """The episodes we had, those we have now, and the verdict over each of the latter."""
    follower = known.follower
    assert follower is not None  # noqa: S101
    if known.history is not None:
        stored, facts = known.history
        following = fold([*facts, fact])
        return stored, following, credits(following.episodes, known.owner_at, known.rules)
    stored = [] if known.last is None else [known.last]
    start = Following(follower.status, follower.as_of, tuple(one.episode for one in stored))
    if follower.as_of is not None and fact.at <= follower.as_of:
        return stored, start, [one.credit for one in stored]
    following = fold([fact], start)
    verdicts = [one.credit for one in stored]
    for episode in following.episodes[len(stored) :]:
        previous = (following.episodes[len(verdicts) - 1], verdicts[-1]) if verdicts else None
        verdicts.append(credit(episode, previous, known.owner_at, known.rules))
    return stored, following, verdicts


def _write_follower(
    follower: StoredFollower, fact: Fact, following: Following, *, event: Event, changes: Changes
) -> None:
    is_gone = following.status is FollowStatus.GONE
    erase_due_at: datetime | None = None
    if is_gone and follower.erased_at is None:
        # An ambiguous status had an event that told of the leave; only which came last was open.
        noticed_late = fact.source is not EpisodeSource.EVENT and follower.status is not FollowStatus.AMBIGUOUS
        erase_due_at = fact.at + (ERASE_AFTER_SILENT_LEAVE if noticed_late else ERASE_AFTER)
    changes["followers"].append(
        {"id": follower.id, "openid": follower.openid if is_gone else event.openid, "status": following.status,
         "as_of": following.as_of, "erase_due_at": erase_due_at, "erased_at": follower.erased_at if is_gone else None,
         "seen_at": fact.at}
    )  # fmt: skip


def _plan_checks(following: Following, effects: Effects) -> None:
    """Ask the platform where we only guess: an implied follow just begun, or a status that is ambiguous."""
    newest = following.episodes[-1] if following.episodes else None
    is_guess = (
        newest is not None
        and newest.ended_at is None
        and newest.source is EpisodeSource.IMPLIED
        and newest.started_at == following.as_of
    )
    if is_guess or following.status is FollowStatus.AMBIGUOUS:
        effects.steps.append(Step.CHECK_FOLLOWER)


def _write_scan(event: Event, fact: Fact, known: Known, *, inbox_id: int, changes: Changes) -> None:
    """Record the scan, for the code's owner at that moment or for nobody; a follow told twice was one scan."""
    scene = scene_of(event)
    if scene is None or known.follower is None:
        return
    if isinstance(event, Subscribed) and _was_told(fact, known):
        return
    owner = None if known.code is None else known.code.owner
    ticket = event.ticket if isinstance(event, Subscribed | Scanned) else None
    recorded = None if known.code is None else known.code.ticket
    changes["scans"].append(
        {"month": month_of(event.occurred_at), "inbox_id": inbox_id, "follower_id": known.follower.id,
         "code_id": owner and owner.code_id, "merchant_id": owner and owner.merchant_id, "scene": scene,
         "scanned_at": event.occurred_at, "led_to_follow": isinstance(event, Subscribed),
         "suspect": bool(ticket and recorded and ticket != recorded),
         "by_staff": owner is not None and any(p.holds(owner.merchant_id, event.occurred_at) for p in known.posts),
         "is_test": owner is not None and _is_test(event.occurred_at, known.trials, changes)}
    )  # fmt: skip


def _is_test(at: datetime, trials: Sequence[StoredTrial], changes: Changes) -> bool:
    """Whether the code was waiting for a test scan at that moment; of several scans the first to be told is it."""
    for trial in trials:
        if not trial.is_used and trial.armed_at <= at < trial.expires_at:
            trial.is_used = True
            changes["used_trials"].append({"id": trial.id, "used_at": at})
            return True
    return False


def _was_told(fact: Fact, known: Known) -> bool:
    """Whether another source has already told of this follow."""
    if known.history is None:
        return False
    return any(
        told.kind is FactKind.FOLLOW
        and told.scene == fact.scene
        and (told.source is not fact.source)
        and is_same_follow(
            Episode(min(told.at, fact.at), told.source), Fact(max(told.at, fact.at), fact.kind, fact.source)
        )
        for told in known.history[1]
    )


def _write_fans(
    fact: Fact,
    event: Event,
    known: Known,
    following: Following,
    verdicts: Sequence[Credit],
    *,
    is_forgotten: bool,
    changes: Changes,
    fan_number: Callable[[int, int], str],
) -> None:
    """A scan is a touch in the list of the code's owner; who comes back is in the list of whom they are credited to.

    A touch of somebody who stays forgotten is counted on a card that stays erased.
    """
    follower = known.follower
    assert follower is not None  # noqa: S101
    owner: Owner | None = None if known.code is None or scene_of(event) is None else known.code.owner
    if owner is not None:
        changes["fans"].append(
            {"merchant_id": owner.merchant_id, "follower_id": follower.id, "at": event.occurred_at,
             "code_id": owner.code_id, "number": fan_number(owner.merchant_id, follower.id),
             "erased_at": follower.as_of if is_forgotten else None}
        )  # fmt: skip
    if is_forgotten or fact.kind is FactKind.LEAVE or not verdicts or following.episodes[-1].started_at != fact.at:
        return
    verdict = verdicts[-1]
    if verdict.rule == FORMER_MERCHANT and (owner is None or verdict.merchant_id != owner.merchant_id):
        changes["returned_fans"].append({"merchant_id": verdict.merchant_id, "follower_id": follower.id})


def _write_window(event: Event, known: Known, outcome: Outcome, *, inbox_id: int, changes: Changes) -> None:
    trigger = trigger_of(event)
    if trigger is None or known.follower is None:
        return
    rule = WINDOWS[trigger]
    changes["windows"].append(
        {"inbox_id": inbox_id, "follower_id": known.follower.id, "merchant_id": _conversation(known, outcome),
         "trigger": trigger, "opened_at": event.occurred_at, "expires_at": event.occurred_at + rule.lasts,
         "allowance": rule.messages, "wants_offers": outcome.granted is not None and outcome.granted.wants_offers}
    )  # fmt: skip


def _conversation(known: Known, outcome: Outcome) -> int | None:
    """Whose it is after the event: of whom somebody has just chosen, if they have; nobody's where that is no shop any
    more."""
    choice = outcome.answer.choice
    merchant_id = known.merchant_id if choice is None else choice.merchant_id
    return merchant_id if known.book.shops.has(merchant_id) else None


def _greets(event: Event, known: Known, outcome: Outcome) -> int | None:
    """Whose waiting message fits here: the merchant's somebody has just turned to, unless it was about being left
    alone, about the staff's pages or about one's own data."""
    merchant_id = _conversation(known, outcome)
    if trigger_of(event) is None or merchant_id not in known.waiting or outcome.staff is not None:
        return None
    is_about_offers = outcome.granted is None or outcome.granted.wants_offers
    return merchant_id if is_about_offers and not _asks_to_be_forgotten(event) else None


def _write_report(event: MassSendFinished, known: Known, changes: Changes) -> None:
    """What the platform tells of a mass send, ours or not; numbers that no column holds name none of ours."""
    if event.msg_id > MOST_BIGINT:
        return
    total, filtered, sent, errors = (
        max(-MOST_INTEGER, min(count, MOST_INTEGER))
        for count in (event.total, event.filtered, event.sent, event.failed)
    )
    changes["mass_reports"].append(
        {"msg_id": event.msg_id, "account_id": known.account_id, "reported_at": event.occurred_at,
         "status": event.status, "total": total, "filtered": filtered, "sent": sent, "errors": errors}
    )  # fmt: skip


def _welcome_variant(event: Event, verdicts: Sequence[Credit]) -> WelcomeVariant | None:
    match event:
        case Subscribed():
            is_return = bool(verdicts) and verdicts[-1].kind is AttributionKind.RETURNING
            return WelcomeVariant.BACK if is_return else WelcomeVariant.FIRST
        case Scanned():
            return WelcomeVariant.ALREADY
        case _:
            return None


def kinds_of_events() -> list[type[Event]]:
    """Every concrete type of event."""

    def below(kind: type[Event]) -> list[type[Event]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in below(child))]

    return [kind for kind in below(Event) if hasattr(kind, "kind")]
