"""Believing the platform: what it says about who follows is taken in as events of our own, beside those it told us.

A finding carries the moment it was true: the platform's subscribe_time, or the whole second in which we asked. The
order of all that is known therefore stays the order in which it happened, whatever arrives while we ask. Findings
are never answered and open no window; one that repeats what an event told changes nothing (EV-11).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from bot import store
from bot.effects import Step
from bot.events import Confirmed, Event, Subscribed, Unsubscribed
from bot.inbox import Inbox
from bot.parser import SCENE
from bot.store import StoredFollower
from core import audit, outbox
from core.database import Role
from core.errors import BusinessError
from core.outbox import Task
from core.runtime import Runtime
from merchants.models import EpisodeSource, FollowStatus, OfficialAccount
from wechat.client import UserInfo, WeChatClient, client_of
from wechat.errors import RecipientRefused
from wechat.limits import USERS_PER_BATCH

RECONCILE: Final = "reconcile"
BATCH: Final = 200
"""Findings that share a transaction: few enough that callbacks about the same people hardly wait."""
PULLS: Final = 3
STATEMENT_TIMEOUT_S: Final = 60
FEW_LEAVERS: Final = 20
LEAVERS_SHARE: Final = 0.02
DECIDE_WITHIN: Final = timedelta(minutes=2)
"""How long an ambiguous follower waits for the first answer before the question is asked again (EV-7)."""
ASK_AGAIN_EVERY: Final = timedelta(minutes=5)
MOST_AT_ONCE: Final = 1_000
SECOND: Final = timedelta(seconds=1)

log = structlog.get_logger(__name__)

T = TypeVar("T")


class ListIncomplete(BusinessError):
    """Nothing is concluded from half a list."""

    code = "list_incomplete"
    message = "微信给出的关注者名单前后对不上（可能正有很多人在关注或取关），这次没有改动任何人。请稍后再试。"


class TooManyLeft(BusinessError):
    """Rather a fault of ours, or another account, than so many people leaving unnoticed."""

    code = "too_many_left"


@dataclass(frozen=True)
class Report:
    """What a comparison with the platform's list came to."""

    checked: int
    followed: int = 0
    unfollowed: int = 0
    attributed: int = 0

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.checked + other.checked,
            self.followed + other.followed,
            self.unfollowed + other.unfollowed,
            self.attributed + other.attributed,
        )


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to ask about, with the newest we know of them; None: nothing yet."""

    openid: str
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Somebody who was erased on request and went on following: no more than the keyed hash of an openid."""

    person_key: bytes
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Difference:
    """How our books differ from the platform's list."""

    newcomers: list[Person]
    """Listed, and not following as far as we know."""
    leavers: list[Person]
    """Following as far as we know, and not listed."""
    forgotten_leavers: list[Forgotten]
    """The same of people whose openids we no longer have, whom nobody can be asked about."""
    following: int
    """How many follow in our books."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the platform said about somebody, and a moment when it was so: later than all we knew when we asked."""

    info: UserInfo
    moment: datetime


# ---- The whole list --------------------------------------------------------------------------------------------------


def reconcile(runtime: Runtime, *, force: bool = False) -> Report:
    """Compare all followers with the platform's list and repair both ways (EV-16).

    Who is new to us is taken in with their date and scene, or as pre-existing if they came before the account went
    live here. Who is missing from the list is asked about one by one; more than a few at once raise `TooManyLeft`
    unless `force`. Of those we have forgotten only the list can tell that they left. May be killed and run again at
    any time: what was taken in is no longer a difference.
    """
    inbox, client = Inbox(runtime), client_of(runtime)
    asked_at = runtime.now().replace(microsecond=0)
    listed = _pull(client)
    found = _compare(runtime, inbox, listed)
    missing = len(found.leavers) + len(found.forgotten_leavers)
    log.info("followers compared", listed=len(listed), newcomers=len(found.newcomers), leavers=missing)
    report = Report(checked=len(listed))
    for batch in _batches(found.newcomers, BATCH):
        report += take_in(runtime, inbox, _ask(runtime, client, batch))
        log.info("followers taken in", followed=report.followed, attributed=report.attributed, of=len(found.newcomers))
    if missing > max(FEW_LEAVERS, LEAVERS_SHARE * found.following) and not force:
        raise TooManyLeft(
            "微信的名单里少了 %(leavers)s 人（我们记着 %(following)s 人在关注），这不像平常的取关，所以没有改动他们。"
            "请先确认接的还是原来的公众号（或沙盒）；确认无误后执行 quanma reconcile --force。",
            leavers=missing,
            following=found.following,
        )
    for batch in _batches(found.leavers, BATCH):
        report += take_in(runtime, inbox, _ask(runtime, client, batch, believe_strangers_left=force))
        log.info("leavers asked about", unfollowed=report.unfollowed, of=missing)
    for forgotten in _batches(found.forgotten_leavers, BATCH):
        with runtime.transaction(Role.PLATFORM, statement_timeout_s=STATEMENT_TIMEOUT_S) as session:
            report += _take_in_forgotten(session, inbox, forgotten, asked_at)
    with runtime.transaction(Role.PLATFORM) as session:
        mine = update(OfficialAccount).where(OfficialAccount.id == inbox.account.id)
        session.execute(mine.values(reconciled_at=text("app_now()")))
    return report


def _pull(client: WeChatClient) -> list[str]:
    """Every openid of the platform's list, from a pull that adds up and has seen the last page."""
    for _ in range(PULLS):
        openids: list[str] = []
        page = client.follower_ids()
        openids.extend(page.openids)
        while page.next_openid is not None and len(openids) <= page.total:
            page = client.follower_ids(page.next_openid)
            openids.extend(page.openids)
        if page.next_openid is None and len(openids) == page.total == len(set(openids)):
            return openids
        log.info("the list changed while it was read", read=len(openids), total=page.total)
    raise ListIncomplete


def _compare(runtime: Runtime, inbox: Inbox, listed: Sequence[str]) -> Difference:
    account = {"account": inbox.account.id}
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=STATEMENT_TIMEOUT_S) as session:
        session.execute(text("CREATE TEMPORARY TABLE listed (openid text PRIMARY KEY) ON COMMIT DROP"))
        driver: Any = session.connection().connection.cursor()
        with driver as cursor, cursor.copy("COPY listed FROM STDIN") as copy:
            for openid in listed:
                copy.write_row((openid,))
        session.execute(text("ANALYZE listed"))
        newcomers = session.execute(
            text("""
                SELECT openid, f.state_as_of
                FROM listed LEFT JOIN follower f USING (openid)
                WHERE f.id IS NULL OR f.account_id = :account AND f.status <> 'following'
                ORDER BY openid"""),
            account,
        ).all()
        leavers = session.execute(
            text("""
                SELECT openid, state_as_of FROM follower f
                WHERE account_id = :account AND status IN ('following', 'ambiguous') AND openid IS NOT NULL
                  AND NOT EXISTS (SELECT 1 FROM listed WHERE listed.openid = f.openid)
                ORDER BY openid"""),
            account,
        ).all()
        forgotten = session.execute(
            text("""
                SELECT person_key, state_as_of FROM follower
                WHERE account_id = :account AND status IN ('following', 'ambiguous') AND openid IS NULL
                ORDER BY id"""),
            account,
        ).all()
        following: int = session.execute(
            text("SELECT count(*) FROM follower WHERE account_id = :account AND status = 'following'"), account
        ).scalar_one()
    known = {inbox.person_key(openid) for openid in listed} if forgotten else set()
    return Difference(
        newcomers=[Person(*row) for row in newcomers],
        leavers=[Person(*row) for row in leavers],
        forgotten_leavers=[Forgotten(*row) for row in forgotten if row.person_key not in known],
        following=following,
    )


# ---- Asking ----------------------------------------------------------------------------------------------------------


def _ask(
    runtime: Runtime, client: WeChatClient, people: Sequence[Person], *, believe_strangers_left: bool = False
) -> list[Finding]:
    """The platform's word on each of these people.

    About openids it does not know at all it says nothing, unless it is believed that these left.
    """
    findings = []
    for batch in _batches(people, USERS_PER_BATCH):
        asked_at = runtime.now().replace(microsecond=0)
        try:
            infos: list[UserInfo] = client.users_info([person.openid for person in batch])
        except RecipientRefused:
            infos = [info for person in batch if (info := _ask_alone(client, person.openid, believe_strangers_left))]
        as_of = {person.openid: person.as_of for person in batch}
        findings += [Finding(info, _after(as_of[info.openid], asked_at)) for info in infos]
    return findings


def _ask_alone(client: WeChatClient, openid: str, believe_strangers_left: bool) -> UserInfo | None:
    try:
        return client.user_info(openid)
    except RecipientRefused:
        if not believe_strangers_left:
            return None
        return UserInfo(openid, following=False, subscribe_time=None, scene=None, subscribe_scene=None, unionid=None)


def _after(as_of: datetime | None, asked_at: datetime) -> datetime:
    """What we found is newer than what we knew, even where the platform's clock is ahead of ours."""
    return asked_at if as_of is None else max(asked_at, as_of + SECOND)


# ---- Taking in -------------------------------------------------------------------------------------------------------


def take_in(runtime: Runtime, inbox: Inbox, findings: Sequence[Finding]) -> Report:
    """Record findings through the inbox, a batch of one kind in each transaction."""
    live_since = inbox.account.live_since
    were_here: list[Finding] = []
    came: list[Finding] = []
    gone: list[Finding] = []
    for finding in findings:
        since = finding.info.subscribe_time
        (gone if since is None else came if since >= live_since else were_here).append(finding)
    report = Report(0)
    for source, follows in ((EpisodeSource.PRE_EXISTING, were_here), (EpisodeSource.RECONCILE, came)):
        for batch in _batches(follows, BATCH):
            with runtime.transaction(Role.PLATFORM, statement_timeout_s=STATEMENT_TIMEOUT_S) as session:
                report += _take_in_follows(session, inbox, batch, source)
    for batch in _batches(gone, BATCH):
        with runtime.transaction(Role.PLATFORM, statement_timeout_s=STATEMENT_TIMEOUT_S) as session:
            report += _take_in_leaves(session, inbox, batch)
    return report


def _take_in_follows(session: Session, inbox: Inbox, batch: Sequence[Finding], source: EpisodeSource) -> Report:
    before = _lock(session, inbox, batch)
    news = [finding for finding in batch if not _stays_forgotten(before[_key(inbox, finding)], finding)]
    inbox.record(session, [_subscribed(inbox, finding) for finding in news], source)
    # A follow older than what we knew says nothing about now; that they follow now is one more finding.
    known = _lock(session, inbox, news)
    doubtful = [finding for finding in news if known[_key(inbox, finding)].status is not FollowStatus.FOLLOWING]
    inbox.record(session, [_confirmed(inbox, finding) for finding in doubtful], EpisodeSource.RECONCILE)
    after = _lock(session, inbox, news)
    followed = [
        follower.id
        for key, follower in after.items()
        if follower.status is FollowStatus.FOLLOWING and before[key].status is not FollowStatus.FOLLOWING
    ]
    attributed: int = session.execute(
        text("""
            SELECT count(*) FROM follow_episode e JOIN attribution a ON a.id = e.attribution_id
            WHERE e.follower_id = ANY(:ids) AND e.ended_at IS NULL AND e.voided_at IS NULL
              AND a.merchant_id IS NOT NULL"""),
        {"ids": followed},
    ).scalar_one()
    return Report(0, followed=len(followed), attributed=attributed)


def _take_in_leaves(session: Session, inbox: Inbox, batch: Sequence[Finding]) -> Report:
    before = _lock(session, inbox, batch)
    news = [finding for finding in batch if before[_key(inbox, finding)].status is not FollowStatus.GONE]
    inbox.record(session, [_unsubscribed(inbox, finding) for finding in news], EpisodeSource.RECONCILE)
    after = _lock(session, inbox, news)
    return Report(0, unfollowed=sum(follower.status is FollowStatus.GONE for follower in after.values()))


def _take_in_forgotten(session: Session, inbox: Inbox, batch: Sequence[Forgotten], asked_at: datetime) -> Report:
    """Let these leave, unless something was heard of them since they were found missing."""
    people = {one.person_key: one for one in batch}
    now = store.lock_followers(store.driver(session), inbox.account.id, {}, list(people))
    left = [key for key, follower in now.items() if follower.openid is None and follower.as_of == people[key].as_of]
    events = []
    for key in left:
        moment = _after(people[key].as_of, asked_at)
        dedupe_key = _dedupe_key(inbox, Unsubscribed, key.hex(), moment)
        events.append(Unsubscribed(openid="", occurred_at=moment, dedupe_key=dedupe_key, fields={}))
    inbox.record(session, events, EpisodeSource.RECONCILE, people=left)
    return Report(0, unfollowed=len(left))


def _lock(session: Session, inbox: Inbox, findings: Collection[Finding]) -> dict[bytes, StoredFollower]:
    """The followers these are about, by person key, locked as the inbox locks them; who is new gets a row."""
    people = {
        _key(inbox, finding): (finding.info.openid, finding.info.subscribe_time or finding.moment)
        for finding in findings
    }
    return store.lock_followers(store.driver(session), inbox.account.id, people)


def _key(inbox: Inbox, finding: Finding) -> bytes:
    return inbox.person_key(finding.info.openid)


def _stays_forgotten(follower: StoredFollower, finding: Finding) -> bool:
    """Who asked to be forgotten and goes on following is nobody to us until they act: write, scan or follow anew."""
    if follower.erased_at is None or follower.status is FollowStatus.GONE:
        return False
    since = finding.info.subscribe_time
    return since is not None and since <= follower.erased_at


def _subscribed(inbox: Inbox, finding: Finding) -> Subscribed:
    info = finding.info
    assert info.subscribe_time is not None  # noqa: S101
    scene = info.scene if info.scene is not None and SCENE.fullmatch(info.scene) else None
    return Subscribed(
        openid=info.openid,
        occurred_at=info.subscribe_time,
        dedupe_key=_dedupe_key(inbox, Subscribed, info.openid, info.subscribe_time),
        fields={},
        scene=scene,
        ticket=None,
    )


def _confirmed(inbox: Inbox, finding: Finding) -> Confirmed:
    openid = finding.info.openid
    key = _dedupe_key(inbox, Confirmed, openid, finding.moment)
    return Confirmed(openid=openid, occurred_at=finding.moment, dedupe_key=key, fields={})


def _unsubscribed(inbox: Inbox, finding: Finding) -> Unsubscribed:
    openid = finding.info.openid
    key = _dedupe_key(inbox, Unsubscribed, openid, finding.moment)
    return Unsubscribed(openid=openid, occurred_at=finding.moment, dedupe_key=key, fields={})


def _dedupe_key(inbox: Inbox, kind: type[Event], person: str, at: datetime) -> str:
    """A keyed hash, for the key outlives the erasure of the openid."""
    return "r:" + inbox.person_key(f"{kind.kind} {person} {at.timestamp():.0f}").hex()[:32]


# ---- As tasks --------------------------------------------------------------------------------------------------------


def check_follower(runtime: Runtime, task: Task) -> None:
    """Ask about one follower: an implied follow just begun, or one that is ambiguous (EV-7)."""
    with runtime.transaction(Role.PLATFORM) as session:
        row = session.execute(
            text("SELECT openid, status, state_as_of FROM follower WHERE id = :id"),
            {"id": int(task.payload["follower_id"])},
        ).one_or_none()
    if row is None or row.openid is None:
        return
    client = client_of(runtime)
    person = Person(row.openid, row.state_as_of)
    # Somebody the platform does not know cannot be written to, which is what an ambiguous status has to decide.
    is_undecided = row.status == FollowStatus.AMBIGUOUS
    take_in(runtime, Inbox(runtime), _ask(runtime, client, [person], believe_strangers_left=is_undecided))


def reconcile_followers(runtime: Runtime, task: Task) -> None:  # noqa: ARG001
    """The comparison nobody asked for; where it stops for the operator, that stands in the audit log."""
    try:
        report = reconcile(runtime)
    except TooManyLeft as refusal:
        log.error("reconcile stopped for the operator", **refusal.detail)
        with runtime.transaction(Role.PLATFORM) as session:
            audit.record(session, actor_kind="system", action="reconcile.stopped", detail=refusal.detail)
    else:
        log.info("followers reconciled", **asdict(report))


def owe(session: Session, now: datetime) -> None:
    """Owe a comparison, unless one is owed that has not begun: one under way may have read the list before `now`."""
    is_owed: bool = session.execute(
        text("SELECT EXISTS (SELECT 1 FROM outbox WHERE kind = :kind AND state = 'pending' AND attempts = 0)"),
        {"kind": RECONCILE},
    ).scalar_one()
    if not is_owed:
        key = f"{RECONCILE}:{now.isoformat()}"
        outbox.add(session, kind=RECONCILE, dedupe_key=key, payload={}, queue=outbox.SLOW)


def owe_decisions(session: Session, now: datetime) -> None:
    """Ask again about everybody who is still ambiguous."""
    undecided = session.execute(
        text("SELECT id FROM follower WHERE status = 'ambiguous' AND state_as_of < :before ORDER BY id LIMIT :most"),
        {"before": now - DECIDE_WITHIN, "most": MOST_AT_ONCE},
    )
    spell = int(now.timestamp() // ASK_AGAIN_EVERY.total_seconds())
    outbox.add_many(
        session,
        [
            outbox.row(
                kind=Step.CHECK_FOLLOWER,
                dedupe_key=f"{Step.CHECK_FOLLOWER}:again:{follower_id}:{spell}",
                payload={"follower_id": follower_id},
            )
            for follower_id in undecided.scalars()
        ],
    )


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
