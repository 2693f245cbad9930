"""Lets the demo community live in a sandbox: codes and pictures through the real jobs, the past through the inbox.

Every step leaves alone what is there already, and the past is told the same way each time from the moment of the
first attempt. So an attempt that was killed is simply made again; only its last act says that nothing is left to do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Any, Final
from xml.sax.saxutils import escape

import requests
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

import bot.reconcile
import worker
from bot import erasers, parser
from bot.events import Event
from bot.inbox import Inbox
from bot.menus import publishing as menus
from bot.menus.buttons import Button
from bot.models import DeadLetter
from bot.talks import enquiries
from core import audit, jobs, outbox
from core.clock import business_day, month_of
from core.database import Role
from core.errors import BusinessError
from core.models import AuditLog, Outbox, OutboxState
from core.partitions import ensure_months
from core.runtime import Runtime
from merchants import cards, merchants, pictures, staff
from merchants.cards import Card
from merchants.models import Community, Merchant, OfficialAccount, Staff, StaffRole
from merchants.wording import link_hosts
from qrcodes import codes, fans, rollups, standing, welcomes
from qrcodes.counted import TrafficRestatement
from qrcodes.models import SubQrCode
from web.demo import benefits, board, past, story
from web.demo.past import Happening, Past, Person
from web.demo.pictures import draw
from web.demo.story import Deed, Greeting, Shop, Spot
from wechat.client import client_of

BEGUN: Final = "demo.begun"
SETTLED: Final = "demo.settled"
"""Who followed before the account went live is known; asking again after the past was told would undo some of it."""
DONE: Final = "demo.done"

BATCH: Final = 200
PATIENCE_S: Final = 60.0
TICK_S: Final = 0.05
SANDBOX_TIMEOUT_S: Final = 30
FIRST_MESSAGE: Final = 23_000_000_000_000_000
"""Message ids of the past; the sandbox numbers its own from higher up."""
OWED: Final = (codes.CREATE, pictures.UPLOAD, erasers.ERASE)

Say = Callable[[str], None]


class RealAccount(BusinessError):
    code = "real_account"
    message = "已接真实公众号，演示数据只能放进沙盒。"


class NoSandbox(BusinessError):
    code = "no_sandbox"
    message = "沙盒没有应答：请先启动 quanma run 或 quanma sandbox，再执行一次。"


class NotFinished(BusinessError):
    code = "not_finished"
    message = "二维码或图片还没有生成好，请再执行一次，会接着办。"


@dataclass(frozen=True)
class Report:
    """What the community came to."""

    merchants: int
    codes: int
    people: int
    events: int


def seed(runtime: Runtime, say: Say) -> Report | None:
    """Let the community live here; None, and nothing done, where it does already or other merchants do.

    Raises `RealAccount` before anything is looked at. May be killed and run again at any time.
    """
    if not runtime.settings.is_sandbox:
        raise RealAccount
    began_at = _begin(runtime)
    if began_at is None:
        return None
    return _Seeding(runtime, say, began_at).run()


def _begin(runtime: Runtime) -> datetime | None:
    """The moment up to which the past is told: that of the first attempt."""
    with runtime.transaction(Role.PLATFORM) as session:
        account_id = merchants.ensure_account(session, runtime.settings)
        began_at = _when(session, BEGUN)
        if began_at is not None:
            return None if _when(session, DONE) else began_at
        if merchants.count_merchants(session, account_id=account_id):
            return None
        audit.record(session, actor_kind="system", action=BEGUN)
        began_at = _when(session, BEGUN)
        assert began_at is not None  # noqa: S101
        values = {"name": story.ACCOUNT_NAME, "live_since": past.live_since(began_at)}
        session.execute(update(OfficialAccount).where(OfficialAccount.id == account_id).values(values))
        ensure_months(session, business_day(past.live_since(began_at)), business_day(began_at))
        return began_at


def _when(session: Session, act: str) -> datetime | None:
    return session.scalar(select(AuditLog.at).where(AuditLog.action == act).order_by(AuditLog.id).limit(1))


class _Seeding:
    """One attempt, from the first shop to the last resident."""

    def __init__(self, runtime: Runtime, say: Say, began_at: datetime) -> None:
        self._runtime = runtime
        self._say = say
        self._began_at = began_at
        self._since = past.live_since(began_at)
        self._inbox = Inbox(runtime)
        self._client = client_of(runtime)
        self._hosts = link_hosts(runtime.settings.public_url)
        self._codes: dict[tuple[str, str], tuple[str, str]] = {}
        """Scene and ticket of each code."""

    def run(self) -> Report:
        self._ask_sandbox("/sandbox/account", name=story.ACCOUNT_NAME)
        operator_id = self._operator()
        for number, shop in enumerate(story.SHOPS, start=1):
            self._say(f"商户 {number}/{len(story.SHOPS)}：{shop.name}")
            self._open(shop, operator_id)
        self._finish_what_is_owed()
        self._hang_codes()
        self._make_menu()
        told = past.tell(self._runtime.settings.wechat_app_id, self._began_at)
        self._settle(told)
        self._replay(told)
        self._say(f"手机：{len(told.people)} 位居民")
        follows = told.follows()
        self._move_in([(one, *follows.get(one.openid, (None, None))) for one in told.people])
        self._add_what_came_last(operator_id)
        self._end_old_talks()
        self._hang_board(operator_id)
        self._forget_who_left()
        self._benefit(told, operator_id)
        self._count()
        report = self._report(told)
        self._note_act(DONE)
        return report

    def _benefit(self, told: Past, operator_id: int) -> None:
        self._say("优惠：券、积分和一条草稿")
        residents = [one.openid for one in told.people if not one.is_crowd]
        benefits.live(self._runtime, began_at=self._began_at, operator_id=operator_id, residents=residents)
        self._finish_what_is_owed()

    def _count(self) -> None:
        """Count the past; nobody had read its days yet, so nothing in it was restated."""
        rollups.catch_up(self._runtime)
        with self._runtime.transaction(Role.PLATFORM) as session:
            session.execute(delete(TrafficRestatement).where(TrafficRestatement.day < business_day(self._began_at)))
        standing.recount(self._runtime)

    def _hang_board(self, operator_id: int) -> None:
        """The directory and the notices, as the operator keeps them."""
        with self._runtime.transaction(Role.PLATFORM) as session:
            account_id = merchants.ensure_account(session, self._runtime.settings)
            community_id = merchants.ensure_community(session, account_id=account_id, name=story.COMMUNITY)
            board.hang(
                session, account_id=account_id, community_id=community_id, operator_id=operator_id, hosts=self._hosts,
                now=self._runtime.now(),
            )  # fmt: skip

    def _note_act(self, act: str) -> None:
        with self._runtime.transaction(Role.PLATFORM) as session:
            audit.record(session, actor_kind="system", action=act)

    def _report(self, told: Past) -> Report:
        codes_made = sum(len(shop.spots) for shop in story.SHOPS)
        return Report(len(story.SHOPS), codes_made, len(told.people), len(told.happenings))

    # Shops

    def _operator(self) -> int:
        with self._runtime.transaction(Role.PLATFORM) as session:
            mine = select(Staff.id).where(Staff.role == StaffRole.OPERATOR, Staff.name == story.OPERATOR)
            if (known := session.scalar(mine)) is not None:
                return known
            staff.invite(session, name=story.OPERATOR, role=StaffRole.OPERATOR, now=self._runtime.now())
            return session.execute(mine).scalar_one()

    def _open(self, shop: Shop, operator_id: int) -> None:
        """Admit a shop, with its card, its codes and what it says; the network's part is owed."""
        opened_at = self._since + timedelta(days=shop.joined, hours=1)
        picture = pictures.prepare(draw(shop.picture))
        with self._runtime.transaction(Role.PLATFORM) as session:
            merchant = self._admit(session, shop, opened_at)
            picture_id = pictures.save(
                session, merchant_id=merchant.id, picture=picture, public_id=codes.new_public_id()
            )
            card = Card(shop.intro, shop.address, shop.hours, picture_id)
            cards.show(session, merchant_id=merchant.id, card=card, hosts=self._hosts)
            ids = {spot.label: self._plan_code(session, merchant.id, spot, opened_at) for spot in shop.spots}
            # What follows a welcome is added once the past is told: nobody waits for one from weeks ago.
            for greeting in (one for one in shop.greetings if one.position == 0):
                self._speak(session, greeting, merchant.id, ids.get(greeting.label), picture_id, operator_id)

    def _admit(self, session: Session, shop: Shop, opened_at: datetime) -> Merchant:
        account_id = merchants.ensure_account(session, self._runtime.settings)
        community_id = merchants.ensure_community(session, account_id=account_id, name=story.COMMUNITY)
        session.execute(update(Community).where(Community.id == community_id).values(intro=story.COMMUNITY_INTRO))
        known = session.scalar(select(Merchant).filter_by(community_id=community_id, name=shop.name))
        return known or merchants.add(
            session,
            account_id=account_id,
            community_id=community_id,
            name=shop.name,
            kind=shop.kind,
            contact_name=shop.contact,
            phone=shop.phone,
            now=opened_at,
        )

    def _plan_code(self, session: Session, merchant_id: int, spot: Spot, opened_at: datetime) -> int:
        """A temporary code was made today, since its life begins when it is; all others with the shop."""
        made_at = opened_at if spot.days is None else self._began_at
        wanted = codes.Wanted(
            spot.label,
            spot.kind,
            spot.place,
            spot.days,
            copies=spot.copies,
            cost_fen=spot.yuan * 100,
            daily_goal=spot.goal,
        )
        code = codes.add(session, merchant_id=merchant_id, wanted=wanted, now=made_at)
        session.execute(update(SubQrCode).where(SubQrCode.id == code.id).values(created_at=made_at))
        return code.id

    def _speak(
        self,
        session: Session,
        greeting: Greeting,
        merchant_id: int | None,
        code_id: int | None,
        picture_id: int | None,
        operator_id: int | None,
    ) -> None:
        """Save a welcome unless one is there; without an operator it waits for approval."""
        places = welcomes.current(session, merchant_id=merchant_id, code_id=code_id)
        (place,) = (one for one in places if (one.variant, one.position) == (greeting.variant, greeting.position))
        if (place.waiting if operator_id is None else place.speaking) is not None:
            return
        draft = welcomes.Draft(
            kind=greeting.kind,
            text=greeting.text,
            title=greeting.title,
            description=greeting.description,
            picture_id=picture_id if greeting.has_picture else None,
        )
        welcomes.save(
            session,
            merchant_id=merchant_id,
            code_id=code_id,
            variant=greeting.variant,
            position=greeting.position,
            draft=draft,
            hosts=self._hosts,
            now=self._runtime.now(),
            operator_id=operator_id,
        )

    def _finish_what_is_owed(self) -> None:
        """Work off codes, pictures and erasures beside whatever worker may be running."""
        deadline = monotonic() + PATIENCE_S
        left = select(func.count()).select_from(Outbox)
        left = left.where(Outbox.kind.in_(OWED), Outbox.state == OutboxState.PENDING)
        while True:
            jobs.drain(self._runtime, worker.HANDLERS, outbox.DEFAULT)
            with self._runtime.transaction(Role.PLATFORM) as session:
                if not session.execute(left).scalar_one():
                    return
            if monotonic() > deadline:
                raise NotFinished
            sleep(TICK_S)

    # Codes on the wall, and the menu

    def _hang_codes(self) -> None:
        """Learn the codes' scenes, and write below each in the sandbox where it hangs."""
        with self._runtime.transaction(Role.PLATFORM) as session:
            rows = session.execute(
                select(Merchant.name, SubQrCode.label, SubQrCode.scene, SubQrCode.ticket).join(
                    Merchant, Merchant.id == SubQrCode.merchant_id
                )
            )
            self._codes = {(name, label): (scene, ticket or "") for name, label, scene, ticket in rows}
        captions = {scene: f"{name} {label}" for (name, label), (scene, _) in self._codes.items()}
        captions[story.OLD_SCENE] = story.OLD_CAPTION
        hanging = self._ask_sandbox("/sandbox/codes", captions=captions)["codes"]
        # Made again, it would have another ticket, and its scans would be told a second time.
        ticket = next((code["ticket"] for code in hanging if code["scene"] == story.OLD_SCENE), None)
        self._codes[past.OLD_BOARD] = (
            story.OLD_SCENE,
            ticket or self._client.create_code(story.OLD_SCENE, permanent=True).ticket,
        )

    def _make_menu(self) -> None:
        with self._runtime.transaction(Role.PLATFORM) as session:
            account_id = merchants.ensure_account(session, self._runtime.settings)
        mine = [Button(words, type="click", key=f"words:{words}") for words in ("优惠券", "积分", "会员卡")]
        buttons = (
            Button("身边商户", type="view", url=self._front_page),
            Button("我的", subs=(*mine, Button("我的数据", type="click", key="words:我的数据"))),
            Button("帮助", type="click", key="words:帮助"),
        )
        outcome = menus.publish(
            self._runtime, account_id=account_id, buttons=buttons, staff_id=None, note="演示社区的菜单"
        )
        if outcome.error is not None:
            raise outcome.error

    @property
    def _front_page(self) -> str:
        return f"{self._runtime.settings.public_url}/"

    # The past

    def _replay(self, told: Past) -> None:
        """Hand every event to the inbox as the platform would have worded it."""
        numbers = {happening: number for number, happening in enumerate(told.happenings)}
        done = 0
        for batch in past.batches(told.happenings, BATCH):
            received = [self._event(happening, numbers[happening]) for happening in batch]
            with self._runtime.transaction(Role.PLATFORM) as session:
                arrivals = self._inbox.record(session, received)
                session.execute(
                    text("""
                        UPDATE inbox_event SET received_at = event_at
                        WHERE id = ANY(:ids) AND month = ANY(:months)"""),
                    {
                        "ids": [arrival.inbox_id for arrival in arrivals if not arrival.is_duplicate],
                        "months": list({month_of(event.occurred_at) for event in received}),
                    },
                )
            if done // BATCH != (done + len(batch)) // BATCH:
                self._say(f"往事 {done + len(batch)}/{len(told.happenings)}：{business_day(batch[-1].at):%m 月 %d 日}")
            done += len(batch)

    def _event(self, happening: Happening, number: int) -> Event:
        return parser.parse(
            _xml(
                ToUserName=self._inbox.account.original_id,
                FromUserName=happening.openid,
                CreateTime=f"{happening.at.timestamp():.0f}",
                **self._words(happening, number),
            ),
            account=self._inbox.account.original_id,
            now=happening.at,
        )

    def _words(self, happening: Happening, number: int) -> dict[str, str]:
        """What tells the platform's kinds of event apart."""
        scene, ticket = self._codes[happening.spot] if happening.spot else ("", "")
        match happening.deed:
            case Deed.WRITE:
                return {"MsgType": "text", "Content": happening.text, "MsgId": str(FIRST_MESSAGE + number)}
            case Deed.FOLLOW:
                key = {"EventKey": f"qrscene_{scene}", "Ticket": ticket} if scene else {}
                return {"MsgType": "event", "Event": "subscribe", **key}
            case Deed.SCAN:
                return {"MsgType": "event", "Event": "SCAN", "EventKey": scene, "Ticket": ticket}
            case Deed.VIEW:
                return {"MsgType": "event", "Event": "VIEW", "EventKey": self._front_page}
            case Deed.LEAVE:
                return {"MsgType": "event", "Event": "unsubscribe"}

    # People

    def _move_in(self, people: list[tuple[Person, datetime | None, past.Spot]]) -> None:
        """Give everybody a phone in the sandbox, following since then through that code, or not following."""
        self._ask_sandbox(
            "/sandbox/people",
            people=[self._phone(person, since, self._codes[spot][0] if spot else "") for person, since, spot in people],
        )

    def _settle(self, told: Past) -> None:
        """Let the reconciler find who followed before, as on the day of going live."""
        with self._runtime.transaction(Role.PLATFORM) as session:
            if _when(session, SETTLED) is not None:
                return
        self._say("老住户：上线之前就关注的人")
        self._move_in([(one, one.was_here_since, None) for one in told.people])
        bot.reconcile.reconcile(self._runtime)
        self._note_act(SETTLED)

    def _phone(self, person: Person, since: datetime | None, scene: str) -> dict[str, Any]:
        facts: dict[str, Any] = {"openid": person.openid, "name": person.name, "crowd": person.is_crowd}
        if person.colour:
            facts["avatar"] = person.colour
        if since is None:
            return facts | {"following": False}
        return facts | {"following": True, "subscribe_time": int(since.timestamp()), "qr_scene_str": scene}

    def _ask_sandbox(self, path: str, **wish: Any) -> Any:
        try:
            answer = requests.post(self._runtime.settings.wechat_api_url + path, json=wish, timeout=SANDBOX_TIMEOUT_S)
        except requests.RequestException as error:
            raise NoSandbox from error
        if not answer.ok:
            raise NoSandbox
        return answer.json()

    # What came last

    def _add_what_came_last(self, operator_id: int) -> None:
        """What shops added lately, what waits for the operator, and what the tea house noted about its regulars."""
        with self._runtime.transaction(Role.PLATFORM) as session:
            self._speak(session, story.PLATFORM_GREETING, None, None, None, operator_id)
            for shop in story.SHOPS:
                merchant = session.execute(select(Merchant).where(Merchant.name == shop.name)).scalar_one()
                for greeting in (one for one in shop.greetings if one.position > 0):
                    self._speak(session, greeting, merchant.id, None, merchant.picture_id, operator_id)
                if shop.waiting is not None:
                    self._speak(session, shop.waiting, merchant.id, None, merchant.picture_id, None)
            self._know_regulars(session)
        for days_ago, delivery in story.UNUSABLE:
            self._bury(delivery, self._began_at - timedelta(days=days_ago))

    def _bury(self, delivery: Mapping[str, str], at: datetime) -> None:
        """Keep a delivery that the parser refuses, as the edge does."""
        told = {"ToUserName": self._inbox.account.original_id, "CreateTime": f"{at.timestamp():.0f}", **delivery}
        body = _xml(**told)
        try:
            parser.parse(body, account=self._inbox.account.original_id, now=at)
        except parser.Unusable as flaw:
            with self._runtime.transaction(Role.PLATFORM) as session:
                same = DeadLetter.body == body.decode()
                if session.scalar(select(DeadLetter.id).where(same)) is not None:
                    return
            self._inbox.bury(body, flaw.reason)
            with self._runtime.transaction(Role.PLATFORM) as session:
                session.execute(update(DeadLetter).where(same).values(received_at=at))

    def _know_regulars(self, session: Session) -> None:
        merchant_id = session.execute(select(Merchant.id).where(Merchant.name == story.TEA_HOUSE.name)).scalar_one()
        regulars = session.scalars(
            text("""
                SELECT follower_id FROM scan WHERE merchant_id = :merchant_id
                GROUP BY follower_id ORDER BY count(*) DESC, max(scanned_at) DESC LIMIT :most"""),
            {"merchant_id": merchant_id, "most": len(story.TAGS)},
        ).all()
        for follower_id, tags, note in zip(regulars, story.TAGS, story.NOTES, strict=False):
            fans.set_tags(session, merchant_id, follower_id, list(tags))
            fans.set_note(session, merchant_id, follower_id, note)

    def _end_old_talks(self) -> None:
        """What was written weeks ago came in then, and ends as it would have."""
        with self._runtime.transaction(Role.PLATFORM) as session:
            session.execute(text("UPDATE talk_message SET created_at = at WHERE at < created_at"))
            enquiries.close_silent(session, self._runtime.now())

    def _forget_who_left(self) -> None:
        """Erase whoever left more than a day ago, as would have been done the day after."""
        self._say("遗忘：取关超过一天的人")
        with self._runtime.transaction(Role.PLATFORM) as session:
            erasers.owe_due(session, self._runtime.now())
        self._finish_what_is_owed()


def _xml(**elements: str) -> bytes:
    """A delivery as it is after decryption."""
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in elements.items())
    return f"<xml>{inner}</xml>".encode()
