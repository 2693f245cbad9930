"""Digests: items of several merchants in one article message, so that one of a fan's slots carries them all.

The operator gathers approved items. What a fan gets is a composition: some of the items, of merchants whose fan they
are and no others. The compositions are chosen and kept when the digest is approved; when it is frozen, every fan of
the items' audiences gets the largest composition that holds nothing but theirs, or is told apart by a reason.

One statement judges every fan; the forecast counts what it says and freezing writes it down. Runs as the platform.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from campaigns.audience import as_filter
from campaigns.broadcasts import bank, compositions, content
from campaigns.broadcasts.compositions import SMALLEST_GROUP
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.digest_models import DigestGroup, DigestItem
from campaigns.broadcasts.models import (
    Broadcast,
    BroadcastKind,
    BroadcastRecipient,
    BroadcastState,
    BroadcastWords,
    NotReached,
    RecipientState,
    Route,
    WordsKind,
)
from core.database import Role, rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from core.runtime import Runtime
from merchants.models import Merchant, MerchantState
from merchants.wording import clean
from qrcodes import fans, jobs
from wechat.client import client_of
from wechat.mass import MassArticles

MOST_ITEMS: Final = 12
"""More than one message holds; each fan gets eight of them at most."""
NAME_MAX: Final = 30
JUDGING_TIMEOUT_S: Final = 20
"""A million fans are looked at for one forecast."""
TO_BE_CANCELLED: Final = (BroadcastState.DRAFT, BroadcastState.APPROVED, BroadcastState.LATE)
"""Before anybody was written to; later stopping is `control`'s."""


class DigestChanged(BusinessError):
    code = "digest_changed"
    message = "合集刚刚变了，请看过新的再确认。"


class NoDraft(BusinessError):
    code = "digest_is_no_draft"
    message = "这个合集已经定下，不能再改。"


class ItemTaken(BusinessError):
    code = "item_taken"
    message = "这条内容刚刚被撤回，或者已经在别的合集里了。"


class Unserved(StrEnum):
    """Why a fan of an item gets the digest without it, beyond what `NotReached` says of the whole person."""

    HAD = "had"
    """Got it with an earlier digest that was stopped."""
    LEFT_OUT = "left_out"
    """Their composition is one without it."""


@dataclass(frozen=True)
class Item:
    """One merchant's article as a digest shows it."""

    id: int
    merchant_id: int
    merchant: str
    name: str
    state: BroadcastState
    is_open: bool
    """The merchant is not suspended."""
    wanted: dict[str, Any]
    words: Words
    """As approved, once it is."""

    @property
    def is_ready(self) -> bool:
        """Nothing speaks against sending it."""
        is_agreed = self.state in (BroadcastState.APPROVED, BroadcastState.GATHERED)
        return self.is_open and is_agreed and self.words.kind is WordsKind.ARTICLE


@dataclass(frozen=True)
class Group:
    """The fans who get one composition."""

    no: int
    items: tuple[Item, ...]
    people: int
    calls: int


@dataclass(frozen=True)
class ItemReach:
    """Of one item's audience: who gets it, and why not the others."""

    item: Item
    audience: int
    reached: int
    missed: dict[str, int]


@dataclass(frozen=True)
class Forecast:
    """What a digest would do if it were frozen now."""

    groups: tuple[Group, ...] = ()
    items: tuple[ItemReach, ...] = ()
    audience: int = 0
    missed: dict[NotReached, int] = field(default_factory=dict)
    unlimited: int = 0
    """Articles in front of fans if there were no limit to the groups."""
    calls_left: int = 0

    @property
    def reached(self) -> int:
        """Fans who get something; each pays one slot of the month."""
        return sum(group.people for group in self.groups)

    @property
    def articles(self) -> int:
        """Articles in front of fans: what the compositions were chosen to make many of."""
        return sum(group.people * len(group.items) for group in self.groups)

    @property
    def calls(self) -> int:
        return sum(group.calls for group in self.groups)


# ---- Building --------------------------------------------------------------------------------------------------------


def create(session: Session, *, account_id: int, name: str, operator_id: int, now: datetime) -> int:
    """An empty digest; `name` is for operators."""
    statement = insert(Broadcast).values(
        account_id=account_id,
        merchant_id=None,
        kind=BroadcastKind.DIGEST,
        name=clean(name, name=Phrase("名称"), field="name", longest=NAME_MAX, is_required=True),
        hello_days=0,
        written_by=operator_id,
        created_at=now,
    )
    return session.execute(statement.returning(Broadcast.id)).scalar_one()


def waiting(session: Session) -> list[Item]:
    """Approved items that are in no digest, those that wait longest first."""
    free = (Broadcast.kind == BroadcastKind.ITEM, Broadcast.state == BroadcastState.APPROVED)
    return _items(session, *free, Broadcast.digest_id.is_(None), order=(Broadcast.decided_at, Broadcast.id))


def add(session: Session, *, digest_id: int, item_id: int) -> None:
    """Put an item at the end of a draft. `ItemTaken` where somebody was faster or the merchant took it back."""
    _draft(session, digest_id)
    inside = session.scalars(select(DigestItem.position).where(DigestItem.digest_id == digest_id)).all()
    if len(inside) >= MOST_ITEMS:
        raise Invalid("一个合集最多 %(most)s 条内容。", most=MOST_ITEMS)
    taken = update(Broadcast).where(
        Broadcast.id == item_id,
        Broadcast.kind == BroadcastKind.ITEM,
        Broadcast.state == BroadcastState.APPROVED,
        Broadcast.digest_id.is_(None),
    )
    merchant_id = session.scalar(taken.values(digest_id=digest_id).returning(Broadcast.merchant_id))
    if merchant_id is None:
        raise ItemTaken
    place = max(inside, default=-1) + 1
    session.add(DigestItem(digest_id=digest_id, item_id=item_id, merchant_id=merchant_id, position=place))
    session.flush()


def remove(session: Session, *, digest_id: int, item_id: int) -> None:
    """Take an item out of a draft; it waits for another digest."""
    _draft(session, digest_id)
    inside = delete(DigestItem).where(DigestItem.digest_id == digest_id, DigestItem.item_id == item_id)
    if not rows_changed(session.execute(inside)):
        raise NotFound("这条内容不在合集里。")
    mine = update(Broadcast).where(Broadcast.id == item_id, Broadcast.digest_id == digest_id)
    session.execute(mine.values(digest_id=None))


def arrange(session: Session, *, digest_id: int, item_ids: Sequence[int]) -> None:
    """Put a draft's items into this order; `DigestChanged` where these are not its items."""
    _draft(session, digest_id)
    inside = session.scalars(select(DigestItem.item_id).where(DigestItem.digest_id == digest_id)).all()
    if sorted(inside) != sorted(item_ids):
        raise DigestChanged
    for position, item_id in enumerate(item_ids):
        place = update(DigestItem).where(DigestItem.digest_id == digest_id, DigestItem.item_id == item_id)
        session.execute(place.values(position=position))


def move(session: Session, *, digest_id: int, item_id: int, by: int) -> None:
    """Move an item up (-1) or down (1) by one place; at the end it stays where it is."""
    _draft(session, digest_id)
    order = list(
        session.scalars(
            select(DigestItem.item_id).where(DigestItem.digest_id == digest_id).order_by(DigestItem.position)
        )
    )
    if item_id not in order:
        raise NotFound("这条内容不在合集里。")
    place = order.index(item_id)
    other = min(max(place + by, 0), len(order) - 1)
    order[place], order[other] = order[other], order[place]
    arrange(session, digest_id=digest_id, item_ids=order)


def get(session: Session, digest_id: int, *, lock: bool = False) -> Broadcast:
    """A digest; `NotFound` for anything else."""
    wanted = select(Broadcast).where(Broadcast.id == digest_id, Broadcast.kind == BroadcastKind.DIGEST)
    found = session.scalar((wanted.with_for_update() if lock else wanted).execution_options(populate_existing=True))
    if found is None:
        raise NotFound("没有这个合集。")
    return found


def items(session: Session, digest_id: int) -> list[Item]:
    """What is in a digest, in its order."""
    inside = select(DigestItem.item_id).where(DigestItem.digest_id == digest_id)
    found = {item.id: item for item in _items(session, Broadcast.id.in_(inside), order=(Broadcast.id,))}
    return [found[item_id] for item_id in session.scalars(inside.order_by(DigestItem.position, DigestItem.item_id))]


def signature(items: Iterable[Item]) -> str:
    """Tells one selection, order and wording from another."""
    return _hash([[item.id, _spelt(item)] for item in items]).hex()[:32]


def _spelt(item: Item) -> Any:
    return content.frozen({"a": item.words})["a"]


def _hash(told: Any) -> bytes:
    return hashlib.sha256(json.dumps(told, ensure_ascii=False, sort_keys=True).encode()).digest()


# ---- Who gets what ---------------------------------------------------------------------------------------------------


def forecast(session: Session, digest_id: int, *, now: datetime) -> Forecast:
    """What would happen if it were frozen now: with the compositions as approved, or the best ones while it is a
    draft."""
    inside = items(session, digest_id)
    if not inside:
        return Forecast()
    policy = bank.policy(session)
    session.execute(text(f"SET LOCAL statement_timeout = '{JUDGING_TIMEOUT_S}s'"))
    crowd = _crowd(session, digest_id, inside, now)
    counts = _reachable(crowd)
    kept = _kept_groups(session, digest_id, inside)
    chosen = list(kept.values()) or compositions.choose(counts, most=policy.groups_most)
    given = compositions.assign(counts, chosen)
    people: Counter[int] = Counter()
    for mask, one in given.items():
        people[one] += counts[mask]
    return Forecast(
        groups=tuple(
            Group(no, _members(inside, one), people[one], -(-people[one] // policy.batch_size))
            for no, one in enumerate(chosen, start=1)
        ),
        items=tuple(_reach_of(place, item, crowd, given) for place, item in enumerate(inside)),
        audience=sum(row.people for row in crowd),
        missed=_missed(crowd, given),
        unlimited=sum(
            people * min(mask.bit_count(), compositions.MOST_ARTICLES)
            for mask, people in counts.items()
            if people >= SMALLEST_GROUP
        ),
        calls_left=_calls_left(session, policy, now),
    )


def told(session: Session, digest_id: int) -> Forecast:
    """What was frozen, in the words of the forecast; as approved where it was never frozen."""
    inside = items(session, digest_id)
    batch = bank.policy(session).batch_size
    by_id = {item.id: item for item in inside}
    session.execute(text(f"SET LOCAL statement_timeout = '{JUDGING_TIMEOUT_S}s'"))
    reasons = session.execute(
        select(BroadcastRecipient.reason, func.count())
        .where(BroadcastRecipient.broadcast_id == digest_id)
        .group_by(BroadcastRecipient.reason)
    ).all()
    groups = session.scalars(select(DigestGroup).where(DigestGroup.digest_id == digest_id).order_by(DigestGroup.no))
    counted = session.scalars(select(DigestItem).where(DigestItem.digest_id == digest_id).order_by(DigestItem.position))
    return Forecast(
        groups=tuple(
            Group(one.no, tuple(by_id[item_id] for item_id in one.items), one.size, -(-one.size // batch))
            for one in groups
        ),
        items=tuple(ItemReach(by_id[one.item_id], one.audience, one.planned, {}) for one in counted),
        audience=sum(count for _, count in reasons),
        missed={NotReached(reason): count for reason, count in reasons if reason is not None},
    )


@dataclass(frozen=True)
class _Crowd:
    """Fans of whom the same is true, as bit masks of the digest's items."""

    wanted: int
    """In whose audience they are."""
    open: int
    """Which of those nothing speaks against."""
    muted: int
    reason: str | None
    """What speaks against any message."""
    people: int


_JUDGED: Final = """
    WITH asked AS (
        SELECT follower_id, bit_or(wanted) AS wanted, bit_or(open) AS open, bit_or(muted) AS muted
        FROM ({audiences}) each GROUP BY follower_id),
    judged AS (
        SELECT a.follower_id, a.wanted, a.open, a.muted,
               CASE WHEN w.status = 'ambiguous' THEN 'ambiguous'
                    WHEN w.status <> 'following' THEN 'left'
                    WHEN a.open = 0 AND a.muted <> 0 THEN 'muted'
                    WHEN o.follower_id IS NOT NULL THEN 'opted_out'
                    WHEN u.since >= w.last_seen_at THEN 'unreachable'
                    WHEN coalesce(q.used, 0) >= :cap THEN 'month'
                    WHEN CASE WHEN q.follower_id IS NOT NULL THEN CASE WHEN q.week = :week THEN q.week_used ELSE 0 END
                              WHEN p.week = :week THEN p.week_used ELSE 0 END >= :week_most THEN 'week'
                    WHEN a.open = 0 THEN 'no_merchant'
               END AS reason
        FROM asked a
        JOIN follower w ON w.id = a.follower_id
        LEFT JOIN opt_out o ON o.follower_id = a.follower_id
        LEFT JOIN unreachable u ON u.follower_id = a.follower_id AND u.channel = 'mass'
        LEFT JOIN fan_month_quota q ON q.follower_id = a.follower_id AND q.month = :month
        LEFT JOIN fan_month_quota p ON p.follower_id = a.follower_id AND p.month = :before)"""
# A fan who got an item with a digest that was stopped later does not get it again (BC-2).
_HAD: Final = """
    EXISTS (SELECT 1 FROM digest_group g
            JOIN broadcast_recipient r ON r.broadcast_id = g.digest_id AND r.follower_id = f.follower_id
                                      AND r.group_no = g.no AND r.route = 'mass'
            WHERE g.items @> ARRAY[CAST(:item_id AS bigint)] AND g.digest_id <> :digest_id
              AND r.state NOT IN ('rejected', 'skipped', 'cancelled'))"""


def _judged(session: Session, digest_id: int, inside: Sequence[Item], now: datetime) -> tuple[str, dict[str, Any]]:
    """The common part of a statement: rows of `judged (follower_id, wanted, open, muted, reason)`, with its
    parameters. Bit 0 of a mask is the first item."""
    policy, month = bank.policy(session), bank.month_of(now)
    was_sent = select(DigestGroup.digest_id).where(DigestGroup.digest_id != digest_id)
    given: dict[str, Any] = {
        "month": month,
        "before": bank.month_before(month),
        "week": bank.week_of(now),
        "week_most": policy.week_most,
        "cap": policy.slots(None) - bank.sends_to_everybody(session, month),
    }
    audiences = ["SELECT CAST(NULL AS bigint) AS follower_id, 0 AS wanted, 0 AS open, 0 AS muted WHERE false"]
    for place, item in enumerate(inside):
        if not item.is_open:
            continue
        wanted, bit = as_filter(item.wanted), 1 << place
        conditions, parameters = fans.conditions(item.merchant_id, wanted)
        is_again = session.scalar(was_sent.where(DigestGroup.items.contains([item.id])).limit(1)) is not None
        had = _HAD if is_again else "false"
        follower = "JOIN follower w ON w.id = f.follower_id" if wanted.following_only else ""
        audience = f"""
            SELECT f.follower_id, {bit} AS wanted,
                   CASE WHEN f.muted_at IS NULL AND NOT {had} THEN {bit} ELSE 0 END AS open,
                   CASE WHEN f.muted_at IS NOT NULL THEN {bit} ELSE 0 END AS muted
            FROM fan f {follower} WHERE {conditions}"""
        parameters |= {"item_id": item.id, "digest_id": digest_id}
        # Each audience has parameters of its own, under the same names.
        audiences.append(re.sub(r"(?<!:):(\w+)", rf":\1_of_{place}", audience))
        given |= {f"{name}_of_{place}": value for name, value in parameters.items()}
    return _JUDGED.format(audiences=" UNION ALL ".join(audiences)), given


def _crowd(session: Session, digest_id: int, inside: Sequence[Item], now: datetime) -> list[_Crowd]:
    statement, given = _judged(session, digest_id, inside, now)
    rows = session.execute(
        text(f"{statement} SELECT wanted, open, muted, reason, count(*) FROM judged GROUP BY 1, 2, 3, 4"), given
    )
    return [_Crowd(*row) for row in rows]


def _reachable(crowd: Sequence[_Crowd]) -> Counter[int]:
    """How many fans may get exactly which items."""
    counts: Counter[int] = Counter()
    for row in crowd:
        if row.reason is None:
            counts[row.open] += row.people
    return counts


def _reach_of(place: int, item: Item, crowd: Sequence[_Crowd], given: dict[int, int]) -> ItemReach:
    bit = 1 << place
    reached, missed = 0, Counter[str]()
    for row in crowd:
        if not row.wanted & bit:
            continue
        one = given.get(row.open, 0) if row.reason is None else 0
        if one & bit:
            reached += row.people
        elif row.muted & bit and row.reason not in (NotReached.LEFT, NotReached.AMBIGUOUS):
            missed[NotReached.MUTED] += row.people
        elif row.reason not in (None, NotReached.NO_MERCHANT):
            missed[str(row.reason)] += row.people
        elif not row.open & bit:
            missed[Unserved.HAD] += row.people
        else:
            missed[Unserved.LEFT_OUT if one else NotReached.NO_MERCHANT] += row.people
    return ItemReach(item, reached + missed.total(), reached, dict(missed.most_common()))


def _missed(crowd: Sequence[_Crowd], given: dict[int, int]) -> dict[NotReached, int]:
    missed = Counter[NotReached]()
    for row in crowd:
        if row.reason is not None:
            missed[NotReached(row.reason)] += row.people
        elif row.open not in given:
            missed[NotReached.NO_MERCHANT] += row.people
    return dict(missed.most_common())


def _kept_groups(session: Session, digest_id: int, inside: Sequence[Item]) -> dict[int, int]:
    """The compositions as approved, as masks by their numbers; none of a draft."""
    places = {item.id: place for place, item in enumerate(inside)}
    rows = session.scalars(select(DigestGroup).where(DigestGroup.digest_id == digest_id).order_by(DigestGroup.no))
    return {row.no: sum(1 << places[item_id] for item_id in row.items) for row in rows}


def _members(inside: Sequence[Item], mask: int) -> tuple[Item, ...]:
    return tuple(item for place, item in enumerate(inside) if mask >> place & 1)


def _calls_left(session: Session, policy: bank.Policy, now: datetime) -> int:
    """How many mass calls the account has left today."""
    left = session.execute(
        text("SELECT cap - used FROM account_day_quota WHERE day = (:now AT TIME ZONE 'Asia/Shanghai')::date"),
        {"now": now},
    ).scalar()
    return policy.calls_per_day if left is None else int(left)


# ---- From the approval to the end ------------------------------------------------------------------------------------


def approve(
    session: Session, *, digest_id: int, seen: str, scheduled_at: datetime | None, operator_id: int, now: datetime
) -> Forecast:
    """The operator agrees to content, reach and cost as shown: the items are gathered and the compositions fixed.

    `seen` is the signature of what was shown; `DigestChanged` where it is another by now. Returns what was agreed to.
    """
    digest = get(session, digest_id, lock=True)
    if digest.state != BroadcastState.DRAFT:
        raise NoDraft
    inside = items(session, digest_id)
    if signature(inside) != seen:
        raise DigestChanged
    if stopped := [item.words.title or item.merchant for item in inside if not item.is_ready]:
        raise Invalid("先移出不能发的：%(names)s。", names="、".join(stopped))
    if scheduled_at is not None and scheduled_at <= now:
        raise Invalid("这个时间已经过了。", field="at")
    agreed = forecast(session, digest_id, now=now)
    if not agreed.groups:
        raise Invalid("现在没有人能收到，先看看下面的原因。")
    gathered = update(Broadcast).where(
        Broadcast.digest_id == digest_id,
        Broadcast.kind == BroadcastKind.ITEM,
        Broadcast.state == BroadcastState.APPROVED,
        Broadcast.id.in_([item.id for item in inside]),
    )
    if rows_changed(session.execute(gathered.values(state=BroadcastState.GATHERED))) != len(inside):
        raise DigestChanged
    session.execute(
        insert(DigestGroup),
        [
            {"digest_id": digest_id, "no": one.no, "items": [item.id for item in one.items], "size": one.people}
            for one in agreed.groups
        ],
    )
    digest.state, digest.submitted_at = BroadcastState.SUBMITTED, now
    session.flush()
    digest.state, digest.decided_at, digest.decided_by = BroadcastState.APPROVED, now, operator_id
    digest.scheduled_at, digest.content_hash, digest.evidence = scheduled_at, _hash_of(agreed), evidence_of(agreed)
    session.flush()
    return agreed


def evidence_of(agreed: Forecast) -> dict[str, Any]:
    """What the operator saw when agreeing."""
    return {
        "reach": {"audience": agreed.audience, "reached": agreed.reached, "missed": agreed.missed},
        "cost": {"slots": agreed.reached, "calls": agreed.calls},
        "articles": agreed.articles,
        "groups": [{"no": one.no, "items": [i.id for i in one.items], "people": one.people} for one in agreed.groups],
        "items": [
            {
                "id": one.item.id,
                "merchant_id": one.item.merchant_id,
                "words": _spelt(one.item),
                "audience": one.audience,
                "reached": one.reached,
                "missed": one.missed,
            }
            for one in agreed.items
        ],
        "content_hash": _hash_of(agreed).hex(),
    }


def _hash_of(agreed: Forecast) -> bytes:
    """Of all words of all groups in their order (BC-15)."""
    return _hash([[group.no, [[item.id, _spelt(item)] for item in group.items]] for group in agreed.groups])


def cancel(session: Session, *, digest_id: int, now: datetime) -> None:
    """Give a digest up before anybody was written to; its items wait for another."""
    digest = get(session, digest_id, lock=True)
    if digest.state not in TO_BE_CANCELLED:
        raise BusinessError("已经开始发送，请到进度页停止。")
    digest.state, digest.finished_at = BroadcastState.CANCELLED, now
    session.flush()
    released(session, digest_id)


def freeze(session: Session, digest_id: int) -> int:
    """Write down who gets which composition, and why not the others; returns how many there are (BC-1).

    Fans are judged anew; the compositions stay those that were approved. A group that fewer than two are left of is
    given up: its fan gets a smaller composition, or nothing.
    """
    now = session.execute(select(func.app_now())).scalar_one()
    inside = items(session, digest_id)
    crowd = _crowd(session, digest_id, inside, now)
    groups = _kept_groups(session, digest_id, inside)
    numbers = {mask: no for no, mask in groups.items()}
    given = compositions.assign(_reachable(crowd), groups.values())
    statement, parameters = _judged(session, digest_id, inside, now)
    written = session.execute(
        text(f"""
            INSERT INTO broadcast_recipient (broadcast_id, follower_id, group_no, route, state, reason)
            {statement}
            SELECT :this, j.follower_id, coalesce(g.no, 0), CASE WHEN g.no IS NULL THEN 'none' ELSE 'mass' END,
                   CASE WHEN g.no IS NULL THEN 'skipped' ELSE 'planned' END,
                   CASE WHEN g.no IS NULL THEN coalesce(j.reason, 'no_merchant') END
            FROM judged j
            LEFT JOIN unnest(CAST(:masks AS int[]), CAST(:numbers AS int[])) AS g(mask, no)
                   ON j.reason IS NULL AND g.mask = j.open"""),
        {
            **parameters,
            "this": digest_id,
            "masks": list(given),
            "numbers": [numbers[one] for one in given.values()],
        },
    )
    _drop_lonely(session, digest_id)
    _count_audiences(session, digest_id, inside, crowd, groups)
    return rows_changed(written)


def _drop_lonely(session: Session, digest_id: int) -> None:
    """Between counting and writing somebody may have left; write down how many there really are of each group."""
    groups = select(BroadcastRecipient.group_no, func.count()).where(
        BroadcastRecipient.broadcast_id == digest_id, BroadcastRecipient.route == Route.MASS
    )
    sizes = {row[0]: row[1] for row in session.execute(groups.group_by(BroadcastRecipient.group_no))}
    if lonely := [no for no, people in sizes.items() if people < SMALLEST_GROUP]:
        alone = update(BroadcastRecipient).where(
            BroadcastRecipient.broadcast_id == digest_id,
            BroadcastRecipient.route == Route.MASS,
            BroadcastRecipient.group_no.in_(lonely),
        )
        session.execute(alone.values(state=RecipientState.SKIPPED, reason=NotReached.ALONE))
    for group in session.scalars(select(DigestGroup).where(DigestGroup.digest_id == digest_id)):
        group.size = 0 if group.no in lonely else sizes.get(group.no, 0)
    session.flush()


def _count_audiences(
    session: Session, digest_id: int, inside: Sequence[Item], crowd: Sequence[_Crowd], groups: dict[int, int]
) -> None:
    sizes = {
        row.no: row.size for row in session.execute(
            select(DigestGroup.no, DigestGroup.size).where(DigestGroup.digest_id == digest_id)
        )
    }  # fmt: skip
    for place, item in enumerate(inside):
        mine = update(DigestItem).where(DigestItem.digest_id == digest_id, DigestItem.item_id == item.id)
        session.execute(
            mine.values(
                audience=sum(row.people for row in crowd if row.wanted >> place & 1),
                planned=sum(sizes[no] for no, mask in groups.items() if mask >> place & 1),
                counted_at=func.app_now(),
            )
        )


def recount(session: Session, digest_id: int) -> None:
    """Tell each merchant what became of its item so far: accepted, rejected and unknown apart (BC-16)."""
    r = BroadcastRecipient
    states = select(r.group_no, r.state, func.count()).where(r.broadcast_id == digest_id, r.route == Route.MASS)
    counts = {(no, state): people for no, state, people in session.execute(states.group_by(r.group_no, r.state))}
    groups = session.scalars(select(DigestGroup).where(DigestGroup.digest_id == digest_id)).all()
    for item in session.scalars(select(DigestItem).where(DigestItem.digest_id == digest_id)):
        mine = [group.no for group in groups if item.item_id in group.items]
        item.accepted = sum(counts.get((no, RecipientState.SENT), 0) for no in mine)
        item.rejected = sum(counts.get((no, RecipientState.REJECTED), 0) for no in mine)
        item.unknown = sum(counts.get((no, RecipientState.UNKNOWN), 0) for no in mine)
        item.counted_at = session.execute(select(func.app_now())).scalar_one()
    session.flush()


def settle(session: Session) -> None:
    """Tell the items of digests that have come to their end, either way; run again, it finds nothing more to do."""
    open_items = select(Broadcast.digest_id).where(Broadcast.state == BroadcastState.GATHERED)
    ended = select(Broadcast.id, Broadcast.state).where(
        Broadcast.id.in_(open_items),
        Broadcast.state.in_((BroadcastState.FINISHED, BroadcastState.CANCELLED)),
        Broadcast.finished_at.is_not(None),
    )
    for digest_id, state in session.execute(ended).all():
        if state == BroadcastState.FINISHED:
            finished(session, digest_id)
        else:
            released(session, digest_id)


def finished(session: Session, digest_id: int) -> None:
    """The digest has come to its end, and so have its items."""
    recount(session, digest_id)
    done = update(Broadcast).where(Broadcast.digest_id == digest_id, Broadcast.state == BroadcastState.GATHERED)
    session.execute(done.values(state=BroadcastState.FINISHED, finished_at=func.app_now()))


def released(session: Session, digest_id: int) -> None:
    """The digest was cancelled: its items wait for another one. Who got them already does not get them again."""
    recount(session, digest_id)
    back = update(Broadcast).where(Broadcast.digest_id == digest_id, Broadcast.state == BroadcastState.GATHERED)
    session.execute(back.values(state=BroadcastState.APPROVED))
    session.execute(update(Broadcast).where(Broadcast.digest_id == digest_id).values(digest_id=None))


# ---- Sending ---------------------------------------------------------------------------------------------------------


def upload(runtime: Runtime, digest_id: int) -> None:
    """Give the platform each composition as a draft, and before that the covers it does not have yet.

    Raises `WeChatError`; begun again, it goes on with what is missing. No transaction is open during a call.
    """
    with runtime.transaction(Role.PLATFORM) as session:
        words = [one for _, one in _articles(session, digest_id).values()]
    for one in words:
        if one.picture_id is not None and one.picture is None:
            jobs.copy_picture(runtime, one.picture_id)
    with runtime.transaction(Role.PLATFORM) as session:
        articles = _articles(session, digest_id)
        missing = select(DigestGroup).where(DigestGroup.digest_id == digest_id, DigestGroup.media_id.is_(None))
        groups = session.scalars(missing.order_by(DigestGroup.no)).all()
    for group in groups:
        drafts = [content.draft_of(articles[one][1], author=articles[one][0]) for one in group.items]
        media_id = client_of(runtime).add_draft(drafts)
        with runtime.transaction(Role.PLATFORM) as session:
            mine = update(DigestGroup).where(
                DigestGroup.digest_id == digest_id, DigestGroup.no == group.no, DigestGroup.media_id.is_(None)
            )
            session.execute(mine.values(media_id=media_id))


def _articles(session: Session, digest_id: int) -> dict[int, tuple[str, Words]]:
    """The merchant's name and the words of each item."""
    return {item.id: (item.merchant, content.load(session, item.id)["a"]) for item in items(session, digest_id)}


def mass_content(session: Session, digest_id: int, group_no: int) -> MassArticles:
    """What a batch of one group hands over; raises `content.NotUploaded` before `upload`."""
    media_id = session.scalar(
        select(DigestGroup.media_id).where(DigestGroup.digest_id == digest_id, DigestGroup.no == group_no)
    )
    if media_id is None:
        raise content.NotUploaded
    return MassArticles(media_id)


# ---- Reading ---------------------------------------------------------------------------------------------------------


def page(session: Session, *, before: int | None = None, limit: int) -> list[Broadcast]:
    """Digests, the newest first."""
    wanted = select(Broadcast).where(Broadcast.kind == BroadcastKind.DIGEST)
    if before is not None:
        wanted = wanted.where(Broadcast.id < before)
    return list(session.scalars(wanted.order_by(Broadcast.id.desc()).limit(limit)))


def sizes(session: Session, digest_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """How many items are in some digests, and how many fans their groups are for."""
    rows = session.execute(
        text("""
            SELECT id, (SELECT count(*) FROM digest_item i WHERE i.digest_id = id),
                   (SELECT coalesce(sum(size), 0) FROM digest_group g WHERE g.digest_id = id)
            FROM unnest(CAST(:those AS bigint[])) AS asked(id)"""),
        {"those": list(digest_ids)},
    )
    return {row[0]: (int(row[1]), int(row[2])) for row in rows}


def outcome(session: Session, item: Broadcast) -> DigestItem | None:
    """What became of an item in the digest it is in; reads as the merchant, too. Nothing is counted before that one
    is frozen."""
    return session.get(DigestItem, (item.digest_id, item.id)) if item.digest_id is not None else None


def _draft(session: Session, digest_id: int) -> Broadcast:
    digest = get(session, digest_id, lock=True)
    if digest.state != BroadcastState.DRAFT:
        raise NoDraft
    return digest


def _items(session: Session, *conditions: Any, order: Sequence[Any]) -> list[Item]:
    rows = session.execute(
        select(Broadcast, Merchant.name, Merchant.state, BroadcastWords)
        .join(Merchant, Merchant.id == Broadcast.merchant_id)
        .join(BroadcastWords, (BroadcastWords.broadcast_id == Broadcast.id) & (BroadcastWords.variant == "a"))
        .where(*conditions)
        .order_by(*order)
        .execution_options(populate_existing=True)
    )
    return [
        Item(
            id=row.id,
            merchant_id=row.merchant_id or 0,
            merchant=merchant,
            name=row.name,
            state=BroadcastState(row.state),
            is_open=state == MerchantState.ACTIVE,
            wanted=row.wanted,
            words=_words_of(row, words),
        )
        for row, merchant, state, words in rows
    ]


def _words_of(row: Broadcast, words: BroadcastWords) -> Words:
    agreed = content.agreed_to(row.evidence or {})
    if row.state in (BroadcastState.DRAFT, BroadcastState.SUBMITTED, BroadcastState.RETURNED) or "a" not in agreed:
        return Words(WordsKind(words.kind), words.text, words.title, words.summary, words.picture_id)
    return agreed["a"]
