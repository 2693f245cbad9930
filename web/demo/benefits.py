"""What the demo community gives and takes: coupons, points and a broadcast that is being written, so that whoever opens
those pages for the first time sees them alive.

Everything goes the way it goes in a shop: coupons are handed in and agreed to, taken on the pages, shown at the till
and redeemed with a bill. Each person's part is one transaction that is left alone where it was done already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from campaigns.broadcasts import writing
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import Broadcast, WordsKind
from campaigns.coupons import alliance, giving, redeeming, templates
from campaigns.coupons.models import Channel, Coupon, CouponKind, CouponTemplate
from campaigns.coupons.templates import Draft
from campaigns.points import exchange, levels, rules
from campaigns.points.levels import Level
from campaigns.points.models import RuleTrigger
from campaigns.points.rules import Rule
from core.clock import SHANGHAI, business_day
from core.database import Role
from core.runtime import Runtime
from merchants.models import Merchant, Staff, StaffRole
from web.demo import story

SINCE: Final = timedelta(days=6)
"""How long ago the shops began with it."""
CUSTOMERS: Final = 14
TEA: Final = story.TEA_HOUSE.name
BAKERY: Final = "麦香烘焙"
OFF: Final = Draft(
    name="满 50 减 10", value_fen=1_000, min_spend_fen=5_000, lasts_days=30, per_person=2, stock=200,
    keyword="桂花乌龙", is_transferable=True, terms="一桌用一张，和别的优惠不同享。",
)  # fmt: skip
BITE: Final = Draft(
    name="送一碟茶点", kind=CouponKind.GIFT, value_fen=1_200, lasts_days=60, per_person=5, stock=60, is_public=False
)
BREAD: Final = Draft(
    name="面包八折", kind=CouponKind.PERCENT, percent_off=20, value_fen=1_000, min_spend_fen=3_000, lasts_days=14,
    stock=100,
)  # fmt: skip
CAKE: Final = Draft(
    name="周末蛋糕减 20", value_fen=2_000, min_spend_fen=10_000, lasts_days=21, stock=50, weekdays=0b1100000
)
"""Waits for the operator."""
RULES: Final = (
    Rule(RuleTrigger.CHECK_IN, 2, 2, 500),
    Rule(RuleTrigger.VISIT, 10, 10, 2_000),
    Rule(RuleTrigger.SPEND, 1, 300, 10_000, per_fen=100, lives_days=365),
    Rule(RuleTrigger.REFERRAL, 50, 200, 1_000, vests_after_days=7),
)
LEVELS: Final = (Level("茶友", 60, 110), Level("老茶客", 300, 130))
PRICE: Final = 60
WORDS: Final = "今年的桂花乌龙开封了，一楼可以先尝一小杯。二楼靠窗的位子，这周下午都还有。"
BILLS: Final = (6_800, 5_200, 11_500, 7_400, 5_600, 9_800)
"""What those who redeemed paid, before it was taken off."""
VISITS: Final = (3_600, 0, 4_800, 2_200)
"""What those who came without a coupon paid; nothing where the bill was not typed in."""


@dataclass(frozen=True)
class _Kinds:
    off: int
    bite: int
    bread: int


def live(runtime: Runtime, *, began_at: datetime, operator_id: int, residents: Sequence[str]) -> None:
    """Let the tea house and the bakery give coupons and points; `residents` are openids that have some of each."""
    with runtime.transaction(Role.PLATFORM) as session:
        shops = {row.name: row.id for row in session.execute(select(Merchant.name, Merchant.id))}
        tea, bakery = shops[TEA], shops[BAKERY]
        clerks = {tea: _clerk(session, tea, "小满"), bakery: _clerk(session, bakery, "小麦")}
        kinds = _begin(session, tea, bakery, clerks[tea], operator_id, began_at)
        people = _customers(session, tea, residents)
    for number, follower_id in enumerate(people):
        # The bakery takes the tea house's coupon as well: the last of them was there.
        till = bakery if number == len(BILLS) - 1 else tea
        with runtime.transaction(Role.PLATFORM) as session:
            _play(session, runtime, number, follower_id, kinds, (till, clerks[till]), began_at)


def _clerk(session: Session, merchant_id: int, name: str) -> int:
    """Who stands at the till, with no way in of their own."""
    mine = select(Staff.id).where(Staff.merchant_id == merchant_id, Staff.name == name)
    if (known := session.scalar(mine)) is not None:
        return known
    session.add(Staff(merchant_id=merchant_id, name=name, role=StaffRole.CLERK))
    session.flush()
    return session.execute(mine).scalar_one()


def _begin(session: Session, tea: int, bakery: int, clerk: int, operator_id: int, began_at: datetime) -> _Kinds:
    known = session.execute(select(CouponTemplate.name, CouponTemplate.id)).all()
    if known:
        ids: dict[str, int] = {row[0]: row[1] for row in known}
        return _Kinds(ids[OFF.name], ids[BITE.name], ids[BREAD.name])
    at = began_at - SINCE
    kinds = _Kinds(*(_agreed(session, shop, draft, operator_id, at)
                     for shop, draft in ((tea, OFF), (tea, BITE), (bakery, BREAD))))  # fmt: skip
    _handed_in(session, bakery, CAKE, began_at)
    for rule in RULES:
        rules.save(session, merchant_id=tea, rule=rule, now=at)
    levels.save(session, merchant_id=tea, levels=LEVELS)
    exchange.add(session, merchant_id=tea, template_id=kinds.bite, price=PRICE, stock=30, per_person=2)
    alliance.ask(session, merchant_id=tea, template_id=kinds.off, acceptor_id=bakery, pays_percent=60, most=50, now=at)
    alliance.agree(session, merchant_id=bakery, template_id=kinds.off, pays_percent=60, now=at)
    words = Words(WordsKind.TEXT, WORDS, template_id=kinds.off)
    broadcast_id = writing.create(session, merchant_id=tea, staff_id=clerk, words=words)
    session.execute(update(Broadcast).where(Broadcast.id == broadcast_id).values(name="桂花乌龙到了"))
    return kinds


def _agreed(session: Session, shop: int, draft: Draft, operator_id: int, at: datetime) -> int:
    template_id = _handed_in(session, shop, draft, at)
    templates.approve(session, template_id=template_id, operator_id=operator_id, seen=at, now=at)
    return template_id


def _handed_in(session: Session, shop: int, draft: Draft, at: datetime) -> int:
    template_id = templates.create(session, merchant_id=shop, staff_id=1, draft=draft, now=at)
    session.execute(update(CouponTemplate).where(CouponTemplate.id == template_id).values(created_at=at))
    templates.submit(session, merchant_id=shop, template_id=template_id, now=at)
    return template_id


def _customers(session: Session, tea: int, residents: Sequence[str]) -> list[int]:
    """The residents first, then the tea house's most faithful fans."""
    rows = session.execute(
        text("""
            SELECT w.id FROM follower w JOIN fan f ON f.follower_id = w.id AND f.merchant_id = :tea
            WHERE w.status = 'following' AND f.erased_at IS NULL
            ORDER BY coalesce(array_position(CAST(:residents AS text[]), w.openid), 1000),
                     (SELECT count(*) FROM scan s WHERE s.follower_id = w.id AND s.merchant_id = :tea) DESC, w.id
            LIMIT :most"""),
        {"tea": tea, "residents": list(residents), "most": CUSTOMERS},
    )
    return list(rows.scalars())


def _play(
    session: Session,
    runtime: Runtime,
    number: int,
    follower_id: int,
    kinds: _Kinds,
    till: tuple[int, int],
    began_at: datetime,
) -> None:
    """One person's week: a coupon for everybody, redeemed by some; a visit without one by others; points for all."""
    if session.scalar(select(Coupon.id).filter_by(template_id=kinds.off, follower_id=follower_id)) is not None:
        return
    day = business_day(began_at) - timedelta(days=5 - number % 5)
    noon = datetime.combine(day, time(11, number * 3), SHANGHAI)
    tea = session.execute(select(CouponTemplate.merchant_id).filter_by(id=kinds.off)).scalar_one()
    taken = giving.grant(
        session, template_id=kinds.off, follower_id=follower_id, cause=f"page:demo{number}", channel=Channel.PAGE,
        now=noon,
    )  # fmt: skip
    rules.check_in(session, merchant_id=tea, follower_id=follower_id, now=noon)
    merchant_id, staff_id = till
    if number < len(BILLS):
        shown = redeeming.show_code(session, runtime, follower_id=follower_id, now=noon)
        redeeming.redeem(
            session, runtime, merchant_id=merchant_id, staff_id=staff_id, shown=shown.token,
            coupon_public_id=taken.public_id, bill_fen=BILLS[number], nonce=f"demo{number}", now=noon,
        )  # fmt: skip
        bread = giving.grant(
            session, template_id=kinds.bread, follower_id=follower_id, cause="keyword:demo", channel=Channel.KEYWORD,
            now=noon,
        )  # fmt: skip
        assert bread.is_new  # noqa: S101
    elif number < len(BILLS) + len(VISITS):
        shown = redeeming.show_code(session, runtime, follower_id=follower_id, now=noon)
        redeeming.record_visit(
            session, runtime, merchant_id=merchant_id, staff_id=staff_id, shown=shown.token,
            bill_fen=VISITS[number - len(BILLS)] or None, nonce=f"demo{number}", now=noon,
        )  # fmt: skip
