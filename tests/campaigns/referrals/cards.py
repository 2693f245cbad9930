"""A street with invitation cards: people who come by them, follow, leave and spend."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from bot.events import Event
from bot.inbox import Inbox
from campaigns.points import ledger, rules
from campaigns.points.models import RuleTrigger
from campaigns.points.rules import Rule
from campaigns.referrals import binding, invites, rewards
from campaigns.referrals.binding import Bound
from campaigns.referrals.invites import Card
from campaigns.referrals.models import CameBy
from campaigns.referrals.rewards import Rewarded
from core.database import Role
from core.outbox import Task
from core.runtime import Runtime
from merchants import owners
from tests.community import Neighbourhood, new_openid, subscribed, unsubscribed
from tests.conftest import advance


@dataclass(frozen=True)
class Person:
    id: int
    openid: str


class Street:
    """Two shops, of which the tea house rewards who brings somebody."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.inbox = Inbox(runtime)
        self.place = Neighbourhood(runtime)
        self.tea, self.noodles = self.place.merchant("茶馆"), self.place.merchant("面馆")
        self.code = self.place.code(self.tea)
        self.reward(self.tea)

    @property
    def now(self) -> datetime:
        return self.runtime.now().replace(microsecond=0)

    def reward(self, merchant_id: int, *, level: int = 1, points: int = 50, **others: Any) -> None:
        limits = {"most_per_person": 100_000, "most_per_day": 1_000_000} | others
        rule = Rule(RuleTrigger.REFERRAL, points, level=level, **limits)
        with self.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
            rules.save(session, merchant_id=merchant_id, rule=rule, now=self.now)

    def tell(self, *events: Event) -> None:
        for event in events:
            self.inbox.receive([event])

    def of(self, openid: str) -> Person:
        row = self.read("SELECT id FROM follower WHERE openid = :openid", openid=openid)
        return Person(row[0][0], openid)

    def follower(self, scene: str | None = None, at: datetime | None = None) -> Person:
        """Somebody who follows now, by a shop's code or a card's."""
        openid = new_openid()
        self.tell(subscribed(openid, at or self.now, scene or self.code.scene))
        return self.of(openid)

    def visitor(self) -> Person:
        """Somebody who opens a page for the first time, and does not follow."""
        openid = new_openid()
        with self.runtime.transaction(Role.PLATFORM) as session:
            return Person(owners.meet(session, self.runtime, openid=openid, now=self.runtime.now()), openid)

    def leave(self, person: Person) -> None:
        self.tell(unsubscribed(person.openid, self.now))

    def card(self, person: Person, merchant_id: int | None = None) -> Card:
        """Their card, whose code WeChat has made."""
        merchant_id = merchant_id or self.tea
        with self.runtime.transaction(Role.FAN, follower_id=person.id) as session:
            card = invites.take(session, merchant_id=merchant_id, follower_id=person.id, now=self.runtime.now())
        with self.runtime.transaction(Role.PLATFORM) as session:
            invites.owe_code(session, card)
        self.work(invites.MAKE)
        self.do(
            """UPDATE sub_qr_code SET state = 'active', ticket = 'gQ' || scene,
                      url = 'http://weixin.qq.com/q/' || scene, expires_at = app_now() + interval '30 days'
               WHERE kind = 'invite' AND state = 'planned'"""
        )
        with self.runtime.transaction(Role.FAN, follower_id=person.id) as session:
            found = invites.mine(session, merchant_id=merchant_id, follower_id=person.id)
        assert found is not None
        return found

    def scene_of(self, card: Card) -> str:
        row = self.read(
            "SELECT scene FROM sub_qr_code c JOIN invite i ON i.code_id = c.id WHERE i.id = :id", id=card.id
        )
        return str(row[0][0])

    def work(self, kind: str) -> int:
        """Do what is owed of one kind, however long it should wait; returns how much that was."""
        owed = self.read("SELECT id, payload, merchant_id FROM outbox WHERE kind = :k AND state = 'pending'", k=kind)
        for row in owed:
            binding.HANDLERS[kind](self.runtime, Task(row.id, kind, row.payload, row.merchant_id, 1, 0))
        self.do("UPDATE outbox SET state = 'done', finished_at = clock_timestamp() WHERE kind = :k", k=kind)
        return len(owed)

    def opened(self, card: Card, person: Person, **others: Any) -> Bound:
        """The person opens the page of a card."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            return binding.bind(
                session, invite_public_id=card.public_id, follower_id=person.id, came_by=CameBy.PAGE,
                now=self.runtime.now(), **others,
            )  # fmt: skip

    def brings(self, inviter: Person, merchant_id: int | None = None, **others: Any) -> Person:
        """The inviter's card brings somebody new, by its page."""
        card = self.card(inviter, merchant_id)
        return self.newcomer(card, **others)

    def newcomer(self, card: Card, **others: Any) -> Person:
        """Somebody comes by the page of a card."""
        openid = new_openid()
        now = self.runtime.now()
        with self.runtime.transaction(Role.PLATFORM) as session:
            person = Person(owners.meet(session, self.runtime, openid=openid, now=now), openid)
            bound = binding.bind(
                session, invite_public_id=card.public_id, follower_id=person.id, came_by=CameBy.PAGE, now=now, **others
            )
        assert bound.is_new, bound
        return person

    def staff(self, merchant_id: int, follower: Person | None = None) -> int:
        """Somebody at the till, bound to a follower where there is one."""
        self.do("INSERT INTO staff (merchant_id, role, name) VALUES (:m, 'clerk', '小二')", m=merchant_id)
        staff_id = int(self.read("SELECT max(id) FROM staff WHERE merchant_id = :m", m=merchant_id)[0][0])
        if follower is not None:
            self.do(
                "INSERT INTO staff_identity (staff_id, merchant_id, follower_id, bound_at)"
                " VALUES (:s, :m, :f, app_now())",
                s=staff_id, m=merchant_id, f=follower.id,
            )  # fmt: skip
        return staff_id

    def visit(self, person: Person, bill_fen: int | None = 3_000, merchant_id: int | None = None) -> int:
        """The till notes a visit, and nothing is rewarded yet."""
        merchant_id = merchant_id or self.tea
        found = self.read("SELECT min(id) FROM staff WHERE merchant_id = :m", m=merchant_id)[0][0]
        staff_id = found or self.staff(merchant_id)
        with self.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
            visit_id = session.scalar(
                text("""INSERT INTO visit (merchant_id, follower_id, staff_id, bill_fen, at)
                        VALUES (:m, :f, :s, :bill, :now) RETURNING id"""),
                {"m": merchant_id, "f": person.id, "s": staff_id, "bill": bill_fen, "now": self.runtime.now()},
            )
        assert visit_id is not None
        return int(visit_id)

    def spend(
        self, person: Person, bill_fen: int | None = 3_000, merchant_id: int | None = None
    ) -> tuple[int, list[Rewarded]]:
        """The till notes a visit, and rewards whom it has to."""
        merchant_id = merchant_id or self.tea
        visit_id = self.visit(person, bill_fen, merchant_id)
        with self.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
            rewarded = rewards.reward_first_spend(
                session, merchant_id=merchant_id, follower_id=person.id, cause_type="visit", cause_id=visit_id,
                now=self.runtime.now(),
            )  # fmt: skip
        return visit_id, rewarded

    def undo(self, visit_id: int, merchant_id: int | None = None) -> int:
        """The till takes a visit back."""
        merchant_id = merchant_id or self.tea
        with self.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
            session.execute(text("UPDATE visit SET reversed_at = app_now() WHERE id = :id"), {"id": visit_id})
            return rewards.take_back(
                session, merchant_id=merchant_id, cause_type="visit", cause_id=visit_id, now=self.runtime.now()
            )

    def points(self, person: Person, merchant_id: int | None = None) -> int:
        with self.runtime.transaction(Role.PLATFORM) as session:
            found = ledger.balance_of(
                session, merchant_id=merchant_id or self.tea, follower_id=person.id, now=self.runtime.now()
            )
        return found.points + found.pending

    def edges(self) -> dict[int, int]:
        """Who brought whom: the invited, and their inviter."""
        return {row[0]: row[1] for row in self.read("SELECT invitee_id, inviter_id FROM referral")}

    def later(self, **by: float) -> None:
        advance(self.runtime, timedelta(**by))

    def read(self, statement: str, **given: Any) -> list[Any]:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return list(session.execute(text(statement), given).all())

    def do(self, statement: str, **given: Any) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            session.execute(text(statement), given)
