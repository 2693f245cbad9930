"""Tenant walk: every route, as every kind of visitor, with everything that belongs to somebody else (TN-1 to TN-5).

The routes come from the application, so that a new one is walked by itself. The walk is tried with the protections
taken away, too: it then has to fail.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from typing import Any, Final

import pytest
from flask import Flask
from PIL import Image
from psycopg import sql
from sqlalchemy import ColumnClause, column, event, func, select, table, text, update
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from bot.inbox import Inbox
from bot.rules import content as contents
from bot.rules import writing as rules
from bot.rules.matching import Mode, Pattern
from bot.rules.writing import Author
from bot.rules.writing import Draft as RuleDraft
from bot.store import driver
from bot.talks.intake import Said
from bot.talks.models import Kind as TalkKind
from campaigns import audience
from campaigns.broadcasts import digest, writing
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import WordsKind
from campaigns.coupons import templates
from campaigns.coupons.models import TemplateState
from core import audit, long_jobs, outbox
from core.clock import Clock, business_day
from core.database import Database, Role
from core.models import JobState, LongJob, LongJobPart
from core.runtime import Runtime
from core.servers import ServerUrls
from core.settings import Settings
from merchants import cards, identities, notices, pictures, staff
from merchants.models import Merchant, NoticeKind, Staff, StaffRole
from merchants.notices import News
from qrcodes import batches, fans, handovers, rollups, standing, trials, welcomes
from qrcodes.codes import Wanted, new_public_id
from qrcodes.fans import Filter
from qrcodes.models import WelcomeVariant
from qrcodes.posters import looks
from qrcodes.posters.formats import Design
from tests.bot.talks.conftest import put
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed, unsubscribed, wrote
from tests.conftest import violations
from tests.web.conftest import PASSWORD, Browser
from web.app import create_app
from web.auth.access import Access, access_of
from web.query import Query
from web.security import limiter

NOBODYS_ID: Final = 9_000_000_000_000_001
NOBODYS_NUMBER: Final = "ZZZZZZZZZZ"

PUBLIC_PARAMETERS: Final = {
    "building_id": "a building of a community, the same for all",
    "category_id": "a kind of help in the operator's directory",
    "code": "a short address that anybody may open",
    "entry_id": "a line of the operator's directory",
    "filename": "a file of the pages",
    "menu_version_id": "a menu of the account, the same for all",
    "msg_id": "a mass send that was none of ours",
    "name": "a language, or a line of the health page",
    "notice_id": "a notice that the operator posts for everybody",
    "public_id": "printed on posters for everybody",
    "replay_id": "a rule that the operator tried on everybody",
    "shop_id": "a shop that anybody may look at",
    "token": "a secret that is itself the permission",
    "version": "a version of the rule, the same for all",
    "word_id": "a word of the operator's list, the same for all",
}
"""Parameters that name nothing of a merchant's."""
LAST_MONTH: Final = business_day(datetime.now(UTC)).replace(day=1) - timedelta(days=1)
SPOTS: Final = {
    "variant": "first",
    "position": "0",
    "format_": "badge",
    "month": f"{LAST_MONTH:%Y-%m}",
    "rule": "visit",
    "answer": "agree",
    "act": "open",
    "wish": "mute",
    "words_kind": "away",
    "way": "up",
    "switch": "on",
    "act_on_place": "pin",
}
"""Parameters that name a place every merchant has."""
NUMBERS_THAT_NAME_NOBODY: Final = {
    "CodesQuery.before": "a place in the order of one's own codes",
    "FansQuery.before": "a place in the order of one's own fans",
    "PeopleQuery.after": "a place in the order of one's own recipients",
    "PeopleQuery.code": "why the platform refuses, the same for all",
    "ListQuery.before": "a place in the order of one's own broadcasts",
    "ReachQuery.after": "a place in the order of one's own fans",
    "NoticesQuery.before": "a place in the order of one's own notices",
    "ManyCodesForm.new_goal": "a number of people",
    "NewForm.days": "a number of days",
    "RulesForm.lives_days": "a number of days",
    "RulesForm.most_per_day": "a number of points",
    "RulesForm.most_per_person": "a number of points",
    "RulesForm.points": "a number of points",
    "RulesForm.second_points": "a number of points",
    "RulesForm.vests_after_days": "a number of days",
    "LogQuery.before": "a place in the order of one's own redemptions",
    "EntriesQuery.before": "a place in the order of one's own statement",
    "HandedQuery.before": "a place in the order of one's own coupons",
    "FanQuery.before": "a place in the order of a person's statement",
    "AgreeForm.pays_percent": "a share that was read",
    "RuleForm.priority": "a place among one's own rules",
    "TrialQuery.at": "a moment",
    "DeskForm.opens": "a time of day",
    "DeskForm.closes": "a time of day",
    "TalksQuery.before": "a place in the order of one's own talks",
    "TalkQuery.before": "a place in the order of one's own talks",
    "TalkQuery.older": "a place in the order of a talk's own messages",
    "SeenForm.up_to": "a place in the order of a talk's own messages",
    "CloseForm.seen_to": "a place in the order of a talk's own messages",
}
NOTED: Final = {"merchant_fans.export", "merchant_redemptions.export"}
"""Exports of one's own list, whatever they are narrowed to: each is written down."""
COUPON: Final = {"kind": "amount", "name": "立减", "value": "5", "stock": "9", "lasts_days": "30", "weekday": "0"}
"""What a coupon needs at least."""
AUDIT: Final = {"audit_log", "audit_head"}


# ---- Two merchants with rows of every kind ---------------------------------------------------------------------------


@dataclass
class Shop:
    """One merchant with everything a merchant can have."""

    id: int
    name: str
    codes: list[Code]
    picture_id: int = 0
    draft_id: int = 0
    """A broadcast that is being written."""
    draft_coupon_id: int = 0
    people: dict[StaffRole, str] = field(default_factory=dict)
    """Who signs in, by login."""


class Town:
    """Two shops whose fans overlap."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._named: dict[tuple[str, int], list[str]] = {}
        self.street = Neighbourhood(runtime)
        self.inbox = Inbox(runtime)
        self.a, self.b = self._open("茶馆"), self._open("面馆")
        now = self.street.now
        ann, ben, cat = new_openid(), new_openid(), new_openid()
        self.take_in(
            subscribed(ann, now - timedelta(days=5), self.a.codes[0].scene),
            subscribed(ben, now - timedelta(days=5), self.b.codes[0].scene),
            subscribed(cat, now - timedelta(days=4), self.b.codes[1].scene),
            scanned(cat, now - timedelta(days=3), self.a.codes[1].scene),
            wrote(cat, now - timedelta(hours=20)),
            unsubscribed(ben, now - timedelta(hours=2)),
        )
        self.stranger = self.street.merchant("花店")
        for shop in (self.a, self.b):
            self._furnish(shop)
        self.gather()
        standing.recount(runtime)

    def _open(self, name: str) -> Shop:
        merchant_id = self.street.merchant(name)
        return Shop(merchant_id, name, [self.street.code(merchant_id, label) for label in ("门口", "柜台")])

    def take_in(self, *events: Any) -> None:
        for one in events:
            self.inbox.receive([one])
        rollups.catch_up(self.runtime)

    def _furnish(self, shop: Shop) -> None:
        now = self.street.now
        with self.runtime.transaction(Role.PLATFORM) as session:
            since = {"created_at": now - timedelta(days=90)}
            session.execute(update(Merchant).where(Merchant.id == shop.id).values(since))
            shop.picture_id = new_picture(session, shop.id, "#07c160" if shop is self.a else "#d63939")
            for role in (StaffRole.OWNER, StaffRole.CLERK):
                token = staff.invite(session, name=f"{shop.name}{role}", role=role, merchant_id=shop.id, now=now)
                login = f"{role}-{shop.id}"
                member = staff.accept(session, token=token, login=login, password=PASSWORD, now=now)
                shop.people[role] = login
                follower_id = fans.page(session, shop.id)[0].follower_id
                identities.bind(session, member, follower_id=follower_id, now=now)
                tried = shop.codes[0].id
                trials.arm(session, merchant_id=shop.id, code_id=tried, staff_id=member.id, now=now)
            news = News(NoticeKind.EXPIRING, cause="walk", path="/merchant/codes", subject=shop.name, days=7)
            notices.tell(session, merchant_id=shop.id, news=news, now=now)
            staff.invite(session, name=f"{shop.name}新人", role=StaffRole.CLERK, merchant_id=shop.id, now=now)
            for operator_id, code_id in product((1, None), (None, shop.codes[0].id)):
                self.say(session, shop, code_id=code_id, operator_id=operator_id, words=f"{shop.name}欢迎您")
            for operator_id, words in ((1, f"{shop.name}有好味"), (None, f"{shop.name}现做")):
                wanted = looks.Wishes(slogan=words)
                looks.save(session, merchant_id=shop.id, wanted=wanted, now=now, operator_id=operator_id)
            for fan in fans.page(session, shop.id):
                fans.set_note(session, shop.id, fan.follower_id, f"{shop.name}记得")
                fans.set_tags(session, shop.id, fan.follower_id, [f"{shop.name}常客"])
            self.rules(session, shop)
            cards.propose(session, merchant_id=shop.id, card=cards.Card(f"{shop.name}的介绍"), hosts=frozenset())
            audience.save(session, merchant_id=shop.id, name=f"{shop.name}常来", wanted=Filter(visits_at_least=2))
            outbox.add(session, kind="upload_picture", dedupe_key=f"walk:{shop.id}", payload={}, merchant_id=shop.id)
            audit.record(session, actor_kind="merchant", merchant_id=shop.id, action="walk", subject=shop.name)
            self.broadcast(session, shop)
            self.benefits(session, shop)
            shop.draft_coupon_id = templates.create(
                session,
                merchant_id=shop.id,
                staff_id=1,
                draft=templates.Draft(f"{shop.name}送茶", value_fen=300, lasts_days=7),
                now=now,
            )
            said = Words(WordsKind.TEXT, f"{shop.name}有新货")
            shop.draft_id = writing.create(session, merchant_id=shop.id, staff_id=1, words=said)
            self.finish_a_job(session, shop)
            self.talk(session, shop)
            self.keep_a_list(session, shop)
            handovers.offer(
                session,
                code_id=shop.codes[1].id,
                merchant_id=shop.id,
                receiver=handovers.Receiver(self.stranger, "花店"),
                now=now,
            )

    def talk(self, session: Any, shop: Shop) -> None:
        """What a fan said and was answered, heard, noted and measured; and what the desk says by itself."""
        now = self.street.now
        staff_id = session.execute(select(Staff.id).filter_by(merchant_id=shop.id, role=StaffRole.OWNER)).scalar_one()
        self.hear(session, shop, f"{shop.name}几点开门")
        self.hear(session, shop, None)
        given = {"m": shop.id, "staff": staff_id, "name": shop.name, "now": now, "content": shop.name.encode()}
        given["talk"] = session.execute(text("SELECT id FROM talk WHERE merchant_id = :m"), given).scalar_one()
        for statement in (
            """UPDATE talk_media SET state = 'kept', mime = 'audio/amr', content = :content, media_id = NULL
               WHERE merchant_id = :m""",
            """INSERT INTO talk_message (merchant_id, talk_id, direction, kind, content, staff_id, state, at)
               VALUES (:m, :talk, 'out', 'text', :name, :staff, 'waiting', :now),
                      (:m, :talk, 'note', 'text', :name, :staff, NULL, :now)""",
            "UPDATE talk SET assigned_to = :staff, waiting_out = 1 WHERE id = :talk",
            "INSERT INTO canned_reply (merchant_id, title, text, position) VALUES (:m, :name, :name, 1)",
            "INSERT INTO talk_desk (merchant_id, asks_satisfaction) VALUES (:m, true)",
            """INSERT INTO desk_words (merchant_id, kind, text, review)
               VALUES (:m, 'away', :name, 'approved'), (:m, 'first', :name, 'pending')""",
        ):
            session.execute(text(statement), given)

    def hear(self, session: Any, shop: Shop, words: str | None) -> None:
        """A fan writes, or (None) says it aloud."""
        now, fan = self.street.now, fans.page(session, shop.id)[0]
        kind, media = (TalkKind.TEXT, None) if words else (TalkKind.VOICE, "walk")
        inbox_id = session.execute(text("SELECT nextval('inbox_event_id_seq')")).scalar_one()
        put(driver(session), [Said(shop.id, fan.follower_id, fan.number, inbox_id, now, kind, words, media)])

    def keep_a_list(self, session: Any, shop: Shop) -> None:
        """Codes that the owner is about to have made."""
        wanted = Wanted(f"{shop.name}的桌子", days=3)
        checked = batches.Checked(batches.COLUMNS, [batches.Line(2, {}, shop.id, wanted)])
        owner_id = session.execute(select(Staff.id).filter_by(merchant_id=shop.id, role=StaffRole.OWNER)).scalar_one()
        batches.keep(
            session,
            checked,
            name=f"{shop.name}的一批",
            account_id=self.street.account_id,
            merchant_id=shop.id,
            created_by=owner_id,
            now=self.street.now,
        )

    def broadcast(self, session: Any, shop: Shop) -> None:
        """One that was given up before anybody was called, with a row of everything one may have."""
        given: dict[str, Any] = {
            "m": shop.id,
            "account": self.street.account_id,
            "name": f"{shop.name}上新",
            "now": self.street.now,
        }
        given["id"] = session.execute(
            text("INSERT INTO broadcast (account_id, merchant_id, name) VALUES (:account, :m, :name) RETURNING id"),
            given,
        ).scalar_one()
        day = business_day(self.street.now)
        given |= {"day": day, "month": day.replace(day=1), "key": f"walk-{shop.id}"}
        given["follower"] = fans.page(session, shop.id)[0].follower_id
        for statement in (
            "INSERT INTO broadcast_words (broadcast_id, merchant_id, kind, text) VALUES (:id, :m, 'text', :name)",
            "INSERT INTO broadcast_template (merchant_id, name, kind, text) VALUES (:m, :name, 'text', :name)",
            "UPDATE broadcast SET state = 'submitted' WHERE id = :id",
            "UPDATE broadcast SET state = 'approved' WHERE id = :id",
            "UPDATE broadcast SET state = 'freezing' WHERE id = :id",
            """INSERT INTO broadcast_recipient (broadcast_id, follower_id, merchant_id, route, state, reason)
               VALUES (:id, :follower, :m, 'none', 'skipped', 'month')""",
            """INSERT INTO send_batch (broadcast_id, no, merchant_id, size, month, week, state, clientmsgid)
               VALUES (:id, 1, :m, 0, :month, :day, 'cancelled', :key)""",
            "INSERT INTO merchant_month_quota (merchant_id, month) VALUES (:m, :month)",
            "INSERT INTO call_allotment (day, merchant_id) VALUES (:day, :m)",
            """INSERT INTO short_link (code, merchant_id, broadcast_id, variant, target)
               VALUES (:key, :m, :id, 'a', 'https://shop.example/' || :name)""",
            "INSERT INTO link_tap (link_id, merchant_id, visitor) SELECT id, :m, '1' FROM short_link WHERE code = :key",
            "UPDATE broadcast SET state = 'cancelled', started_at = :now, finished_at = :now WHERE id = :id",
        ):
            session.execute(text(statement), given)

    def rules(self, session: Any, shop: Shop) -> None:
        """A rule that answers, and one that waits."""
        account_id = session.execute(text("SELECT id FROM official_account")).scalar_one()
        for words in ("地址", "菜单"):
            said = (contents.Answer(text=f"{shop.name}的{words}"), contents.Answer("image", picture_id=shop.picture_id))
            content = contents.Content((Pattern(Mode.EXACT, words),), (), said)
            rule_id = rules.create(
                session,
                Author(account_id, merchant_id=shop.id),
                RuleDraft(f"{shop.name}{words}", content),
                hosts=frozenset(),
                now=self.street.now,
            )
        version_id = rules.newest_of(session, rule_id).id
        rules.approve(session, version_id=version_id, operator_id=1, now=self.street.now)
        answered = text("""
            INSERT INTO inbox_event (month, account_id, dedupe_key, source, kind, event_at, answered_by, rule_id,
                merchant_id)
            VALUES (:month, :account, :key, 'push', 'text', :now, 'rule', :rule, :m)""")
        session.execute(
            answered,
            {"month": business_day(self.street.now).replace(day=1), "account": account_id, "key": f"rule-{shop.id}",
             "now": self.street.now, "rule": rule_id, "m": shop.id},
        )  # fmt: skip

    def benefits(self, session: Any, shop: Shop) -> None:
        """A row of everything that coupons, points and referrals leave behind at a shop."""
        followers = [fan.follower_id for fan in fans.page(session, shop.id)]
        given: dict[str, Any] = {
            "m": shop.id, "name": f"{shop.name}立减", "key": f"walk{shop.id}", "hash": f"walk{shop.id}".encode(),
            "follower": followers[0], "now": self.street.now, "day": business_day(self.street.now),
            "later": self.street.now + timedelta(days=30), "ally": self.stranger,
            "staff": session.execute(select(Staff.id).filter_by(merchant_id=shop.id).limit(1)).scalar_one(),
        }  # fmt: skip
        inserts = {
            "template": """INSERT INTO coupon_template (merchant_id, public_id, name, kind, value_fen, worth_fen,
                lasts_days, stock, issued, budget_fen, committed_fen, state, review)
                VALUES (:m, :key, :name, 'amount', 500, 500, 30, 10, 1, 5000, 500, 'live', 'approved') RETURNING id""",
            "_tranche": "INSERT INTO coupon_tranche VALUES (:m, :template, :now, 5) RETURNING pieces",
            "_day": """INSERT INTO coupon_template_day (merchant_id, template_id, day, given, most)
                VALUES (:m, :template, :day, 1, 5) RETURNING given""",
            "_acceptor": """INSERT INTO coupon_acceptor (merchant_id, template_id, acceptor_id)
                VALUES (:m, :template, :ally) RETURNING template_id""",
            "coupon": """INSERT INTO coupon (merchant_id, template_id, public_id, follower_id, seq, cause, channel,
                worth_fen, uses, uses_left, valid_from, valid_to)
                VALUES (:m, :template, :key, :follower, 1, 'walk', 'page', 500, 1, 1, :now, :later) RETURNING id""",
            "_gift": """INSERT INTO coupon_gift (merchant_id, coupon_id, follower_id, token_hash, expires_at)
                VALUES (:m, :coupon, :follower, :hash, :later) RETURNING id""",
            "_try": "INSERT INTO code_try VALUES (:m, :staff, :now, 1) RETURNING tries",
            "redemption": """INSERT INTO redemption (merchant_id, issuer_id, coupon_id, template_id, follower_id,
                staff_id, use_no, discount_fen, is_first_here, redeemed_at, reversed_at)
                VALUES (:m, :m, :coupon, :template, :follower, :staff, 1, 500, true, :now, :now) RETURNING id""",
            "_reversal": """INSERT INTO redemption_reversal (redemption_id, merchant_id, staff_id, reason,
                is_valid_again, reversed_at) VALUES (:redemption, :m, :staff, '拿错', true, :now) RETURNING staff_id""",
            "_answer": """INSERT INTO answered_call (actor, route, nonce, merchant_id, body_hash, status)
                VALUES (:key, 'redeem', :key, :m, :hash, 200) RETURNING status""",
            "_visit": """INSERT INTO visit (merchant_id, follower_id, staff_id) VALUES (:m, :follower, :staff)
                RETURNING id""",
            "rule": """INSERT INTO points_rule (merchant_id, trigger, points, most_per_person, most_per_day)
                VALUES (:m, 'visit', 10, 10, 1000) RETURNING id""",
            "_rule_day": """INSERT INTO points_rule_day (merchant_id, rule_id, day, follower_id, paid, most)
                VALUES (:m, :rule, :day, :follower, 10, 10), (:m, :rule, :day, NULL, 10, 1000) RETURNING id""",
            "_level": "INSERT INTO member_level VALUES (:m, 1, :name, 100, 110) RETURNING level",
            "_offer": """INSERT INTO points_offer (merchant_id, template_id, price, stock)
                VALUES (:m, :template, 50, 5) RETURNING id""",
            "_settings": "INSERT INTO points_settings VALUES (:m, 500) RETURNING merchant_id",
            "adjustment": """INSERT INTO points_adjustment (merchant_id, follower_id, points, reason, needs_second,
                asked_by) VALUES (:m, :follower, 600, :name, true, :staff) RETURNING id""",
            "account": """INSERT INTO points_account (merchant_id, follower_id, kind, balance)
                VALUES (:m, :follower, 'fan', 0) RETURNING id""",
            "contra": "INSERT INTO points_account (merchant_id, kind) VALUES (:m, 'issued') RETURNING id",
            "transfer": """INSERT INTO points_transfer (merchant_id, follower_id, kind, points, rule_id, source_type,
                source_id) VALUES (:m, :follower, 'earn', 10, :rule, 'walk', 1) RETURNING id""",
            "_entries": """INSERT INTO points_entry (transfer_id, account_id, merchant_id, points)
                VALUES (:transfer, :account, :m, 10), (:transfer, :contra, :m, -10) RETURNING points""",
            "lot": """INSERT INTO points_lot (merchant_id, account_id, transfer_id, earned, remaining)
                VALUES (:m, :account, :transfer, 10, 10) RETURNING id""",
            "spent": """INSERT INTO points_transfer (merchant_id, follower_id, kind, points, source_type, source_id)
                VALUES (:m, :follower, 'spend', 5, 'walk', 2) RETURNING id""",
            "_spent_entries": """INSERT INTO points_entry (transfer_id, account_id, merchant_id, points)
                VALUES (:spent, :account, :m, -5), (:spent, :contra, :m, 5) RETURNING points""",
            "_use": "INSERT INTO points_lot_use VALUES (:lot, :spent, :m, 5) RETURNING points",
            "_debt": """INSERT INTO points_debt (transfer_id, merchant_id, account_id, points)
                VALUES (:transfer, :m, :account, 3) RETURNING points""",
            "_owed": "UPDATE points_account SET debt = 3 WHERE id = :account RETURNING debt",
            "_wording": "INSERT INTO invite_wording (merchant_id, text) VALUES (:m, :name) RETURNING text",
            "_rest": "UPDATE points_lot SET remaining = 5 WHERE id = :lot RETURNING id",
        }  # fmt: skip
        for name, statement in inserts.items():
            given[name] = session.execute(text(statement), given).first()[0]
        subject = f"adjustment:{given['adjustment']}"
        audit.record(session, actor_kind="merchant", merchant_id=shop.id, action="points.adjust", subject=subject)
        # Whoever is brought is new here: a person whom only this is about.
        given["newcomer"] = session.execute(
            text("""
                INSERT INTO follower (account_id, person_key, first_seen_at, last_seen_at)
                VALUES (:account, :hash, app_now(), app_now()) RETURNING id"""),
            {"account": self.street.account_id, "hash": given["hash"]},
        ).scalar_one()
        for statement in (
            "INSERT INTO invite (merchant_id, follower_id, public_id, expires_at) VALUES (:m, :follower, :key, :later)",
            """INSERT INTO referral (invitee_id, inviter_id, merchant_id, invite_id, came_by)
               SELECT :newcomer, :follower, :m, id, 'page' FROM invite WHERE public_id = :key""",
            """INSERT INTO referral_reward (merchant_id, invitee_id, level, beneficiary_id, cause_type, cause_id, state)
               VALUES (:m, :newcomer, 1, :follower, 'redemption', :redemption, 'refused')""",
        ):
            session.execute(text(statement), given)

    def gather(self) -> None:
        """A digest with an item of each shop."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            digest_id = digest.create(
                session, account_id=self.street.account_id, name="合集", operator_id=1, now=self.street.now
            )
            for shop in (self.a, self.b):
                given: dict[str, Any] = {"m": shop.id, "account": self.street.account_id, "name": f"{shop.name}一条"}
                given["id"] = session.execute(
                    text("""
                        INSERT INTO broadcast (account_id, merchant_id, kind, name)
                        VALUES (:account, :m, 'item', :name) RETURNING id"""),
                    given,
                ).scalar_one()
                for statement in (
                    "INSERT INTO broadcast_words (broadcast_id, merchant_id, kind, title)"
                    " VALUES (:id, :m, 'article', :name)",
                    "UPDATE broadcast SET state = 'submitted' WHERE id = :id",
                    "UPDATE broadcast SET state = 'approved' WHERE id = :id",
                ):
                    session.execute(text(statement), given)
                digest.add(session, digest_id=digest_id, item_id=given["id"])

    def finish_a_job(self, session: Any, shop: Shop) -> None:
        """Something the owner asked for, with its file."""
        owner_id = session.execute(select(Staff.id).filter_by(merchant_id=shop.id, role=StaffRole.OWNER)).scalar_one()
        job_id = long_jobs.start(
            session, kind="walk", requested_by=owner_id, merchant_id=shop.id, payload={}, now=self.street.now
        )
        ready = {"state": JobState.DONE, "file_name": f"{shop.name}.txt", "file_mime": "text/plain", "file_size": 6}
        session.execute(update(LongJob).where(LongJob.id == job_id).values(**ready))
        session.add(LongJobPart(job_id=job_id, attempt=0, number=0, content=shop.name.encode()))

    def say(self, session: Any, shop: Shop, *, code_id: int | None, operator_id: int | None, words: str) -> None:
        """One version of a welcome: in force if an operator says so, else waiting."""
        welcomes.save(
            session,
            merchant_id=shop.id,
            code_id=code_id,
            variant=WelcomeVariant.FIRST,
            position=0,
            draft=welcomes.Draft(text=words),
            hosts=frozenset(),
            now=self.street.now,
            operator_id=operator_id,
        )

    def ids(self, parameter: str, shop: Shop) -> list[str]:
        """Everything of this shop that the parameter could name, gone meanwhile or not."""
        if (parameter, shop.id) in self._named:
            return self._named[parameter, shop.id]
        queries = {
            "code_id": "SELECT id FROM sub_qr_code WHERE merchant_id = :id",
            "staff_id": "SELECT id FROM staff WHERE merchant_id = :id",
            "number": "SELECT number FROM fan WHERE merchant_id = :id",
            "session_id": "SELECT id FROM login_session WHERE merchant_id = :id",
            "welcome_id": "SELECT id FROM welcome WHERE merchant_id = :id",
            "picture_id": "SELECT id FROM picture WHERE merchant_id = :id",
            "batch_id": "SELECT id FROM code_batch WHERE merchant_id = :id",
            "handover_id": "SELECT id FROM code_handover WHERE :id IN (from_merchant_id, to_merchant_id)",
            "job_id": "SELECT id FROM long_job WHERE merchant_id = :id",
            "slogan_id": "SELECT id FROM poster_slogan WHERE merchant_id = :id",
            "card_id": "SELECT id FROM merchant_card WHERE merchant_id = :id",
            "template_id": "SELECT id FROM broadcast_template WHERE merchant_id = :id",
            "group_id": "SELECT id FROM segment WHERE merchant_id = :id",
            "segment_id": "SELECT id FROM segment WHERE merchant_id = :id",
            "broadcast_id": "SELECT id FROM broadcast WHERE merchant_id = :id",
            "digest_id": "SELECT digest_id FROM digest_item WHERE merchant_id = :id",
            "item_id": "SELECT item_id FROM digest_item WHERE merchant_id = :id",
            "send_batch_id": "SELECT id FROM send_batch WHERE merchant_id = :id",
            "task_id": "SELECT id FROM outbox WHERE merchant_id = :id",
            "follower_id": "SELECT follower_id FROM fan WHERE merchant_id = :id",
            "merchant_id": "SELECT CAST(:id AS bigint)",
            "reward_id": "SELECT id FROM referral_reward WHERE merchant_id = :id",
            "from_id": "SELECT CAST(:id AS bigint)",
            "to_id": "SELECT CAST(:id AS bigint)",
            "coupon_id": "SELECT id FROM coupon_template WHERE merchant_id = :id",
            "coupon_template_id": "SELECT id FROM coupon_template WHERE merchant_id = :id",
            "given": "SELECT public_id FROM coupon WHERE merchant_id = :id",
            "talk_id": "SELECT id FROM talk WHERE merchant_id = :id",
            "message_id": "SELECT id FROM talk_message WHERE merchant_id = :id",
            "file_id": "SELECT message_id FROM talk_media WHERE merchant_id = :id",
            "reply_id": "SELECT id FROM canned_reply WHERE merchant_id = :id",
            "desk_words_id": "SELECT id FROM desk_words WHERE merchant_id = :id",
            "visit_id": "SELECT id FROM visit WHERE merchant_id = :id",
            "redemption_id": "SELECT id FROM redemption WHERE merchant_id = :id",
            "adjustment_id": "SELECT id FROM points_adjustment WHERE merchant_id = :id",
            "offer_id": "SELECT id FROM points_offer WHERE merchant_id = :id",
            "partner_id": "SELECT CAST(:id AS bigint)",
            "reply_rule_id": "SELECT id FROM reply_rule WHERE merchant_id = :id",
            "rule_version_id": "SELECT id FROM reply_rule_version WHERE merchant_id = :id",
            "shop_id": "SELECT CAST(:id AS bigint)",
            "community_id": "SELECT community_id FROM merchant WHERE id = :id",
        }
        if parameter not in queries:
            raise AssertionError(
                f"The walk does not know what <{parameter}> names: say in Town.ids where a merchant's are found,"
                " or in PUBLIC_PARAMETERS why it is nobody's."
            )
        with self.runtime.transaction(Role.PLATFORM) as session:
            found = session.execute(text(queries[parameter]), {"id": shop.id}).scalars().all()
        assert found, f"{shop.name} has nothing that <{parameter}> could name"
        return self._named.setdefault((parameter, shop.id), [str(one) for one in found])


def new_picture(session: Any, merchant_id: int, colour: str) -> int:
    file = io.BytesIO()
    Image.new("RGB", (320, 240), colour).save(file, "PNG")
    prepared = pictures.prepare(file.getvalue())
    return pictures.save(session, merchant_id=merchant_id, picture=prepared, public_id=new_public_id())


# ---- Walking ---------------------------------------------------------------------------------------------------------


class Visitor:
    """One browser, signed in or not, whose answers can be compared byte by byte."""

    def __init__(self, app: Flask, login: str | None) -> None:
        self.name = login or "nobody"
        self._browser = Browser(app.test_client())
        if login is not None:
            assert self._browser.sign_in(login).status_code == 303
            self._browser.get("/merchant/")
        else:
            self._browser.get("/auth/sign-in")

    def ask(self, method: str, path: str, named: Sequence[str] = (), **data: str) -> Answer:
        """What comes back, but for what differs in every answer and for the names given."""
        send = self._browser.get if method == "GET" else self._browser.post
        options: dict[str, Any] = {"query_string": data} if method == "GET" else {"data": data}
        response: TestResponse = send(path, **options)
        return Answer(response.status_code, _plain(response, named))


@dataclass(frozen=True)
class Answer:
    status: int
    content: str


CHANGES_EVERY_TIME = re.compile(
    r"(nonce-|nonce=\"|name=\"nonce\" value=\"|Nonce\": ?\"|csrf[_-]token\" (?:value|content)=\")[\w.-]+"
)


def _plain(response: TestResponse, named: Sequence[str]) -> str:
    skipped = {"Set-Cookie", "Date", "X-Request-Id", "Content-Length"}
    heads = sorted(f"{name}: {value}" for name, value in response.headers if name not in skipped)
    content = "\n".join([*heads, response.get_data().decode("utf-8", "replace")])
    content = CHANGES_EVERY_TIME.sub(r"\1…", content)
    for name in named:
        content = content.replace(name, "…")
    return content


@dataclass(frozen=True)
class Step:
    """One way to name something: a route with its parameters, or a field of a form or query."""

    endpoint: str
    access: Access
    method: str
    path: Callable[[dict[str, str]], str]
    parameters: tuple[str, ...]
    """Those that name something of a merchant's."""
    field: str | None = None
    fields: tuple[tuple[str, str], ...] = ()

    def take(self, visitor: Visitor, values: dict[str, str]) -> Answer:
        data = dict(self.fields) | ({self.field: values[self.field]} if self.field else {})
        named = [values[name] for name in (*self.parameters, *([self.field] if self.field else []))]
        return visitor.ask(self.method, self.path(values), named, **data)


def route_steps(app: Flask) -> Iterator[Step]:
    """Every route that takes a parameter which could name something of a merchant's."""
    for rule in app.url_map.iter_rules():
        access = access_of(app.view_functions[rule.endpoint])
        assert access is not None
        given = (rule.defaults or {}).keys() | PUBLIC_PARAMETERS.keys() | SPOTS.keys()
        parameters = tuple(sorted(rule.arguments - given))
        if parameters:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield Step(rule.endpoint, access, method, _builder(app, rule), parameters)


def _builder(app: Flask, rule: Rule) -> Callable[[dict[str, str]], str]:
    def build(values: dict[str, str]) -> str:
        wanted = {name: (SPOTS | values)[name] for name in rule.arguments if name not in (rule.defaults or {})}
        converted = {name: rule._converters[name].to_python(value) for name, value in wanted.items()}
        built = rule.build(converted)
        assert built is not None
        return str(built[1])

    return build


def field_steps(app: Flask, town: Town) -> Iterator[Step]:
    """Every field of the merchants' forms and queries that could name something of a merchant's."""
    draft = f"/merchant/broadcasts/{town.a.draft_id}"
    draft_coupon = f"/merchant/coupons/{town.a.draft_coupon_id}/edit"

    def own(name: str) -> str:
        return town.ids(name, town.a)[0]

    asked: dict[str, list[tuple[str, str, dict[str, str]]]] = {
        "Wishes.code": [("GET", "/merchant/fans", {}), ("POST", "/merchant/fans/export", {})],
        "FansQuery.code": [("GET", "/merchant/fans", {})],
        "GroupForm.code": [("POST", "/merchant/fans/groups", {"name": "门口来的"})],
        "Wishes.coupon": [("GET", "/merchant/fans", {}), ("POST", "/merchant/fans/export", {})],
        "FansQuery.coupon": [("GET", "/merchant/fans", {})],
        "GroupForm.coupon": [("POST", "/merchant/fans/groups", {"name": "有券的"})],
        "AudienceQuery.coupon": [("GET", "/merchant/broadcasts/audience", {"audience": "conditions"})],
        "BroadcastForm.coupon": [("POST", draft + "/edit", {"kind": "text", "audience": "conditions"})],
        "BroadcastForm.template": [
            ("POST", draft + "/edit", {"kind": "text", "text": "好茶"}),
            ("POST", draft + "/edit", {"kind": "article", "title": "茶", "body": "好茶"}),
        ],
        "WelcomeForm.template": [("POST", "/merchant/welcome/first/0", {"kind": "text", "text": "好茶"})],
        "ManyCodesForm.code": [
            ("POST", "/merchant/codes/many", {"act": "retire"}),
            ("POST", "/merchant/codes/many", {"act": "change", "new_place": "楼下"}),
        ],
        **{
            f"RuleForm.picture{place}": [
                (
                    "POST",
                    path,
                    {"name": "菜单", "exact": "菜单", "kind1": "text", "text1": "好茶", f"kind{place}": "image"},
                )
                for path in ("/merchant/rules", f"/merchant/rules/{own('reply_rule_id')}")
            ]
            for place in (1, 2, 3)
        },
        "CardForm.picture": [("POST", "/merchant/me/card", {"intro": "好茶"})],
        "WelcomeForm.picture": [
            ("POST", "/merchant/welcome/first/0", {"kind": "image"}),
            ("POST", f"/merchant/welcome/codes/{town.a.codes[0].id}/first/1", {"kind": "news", "title": "茶"}),
        ],
        "BeginForm.template": [("POST", "/merchant/broadcasts", {})],
        "AudienceQuery.code": [("GET", "/merchant/broadcasts/audience", {"audience": "conditions"})],
        "AudienceQuery.group": [("GET", "/merchant/broadcasts/audience", {"audience": "group"})],
        "BroadcastForm.picture": [
            ("POST", draft + "/edit", {"kind": "picture"}),
            ("POST", draft + "/edit", {"kind": "article", "title": "茶", "body": "好茶"}),
        ],
        "BroadcastForm.code": [("POST", draft + "/edit", {"kind": "text", "audience": "conditions"})],
        "BroadcastForm.group": [("POST", draft + "/edit", {"kind": "text", "audience": "group"})],
        "TrialForm.staff": [("POST", draft + "/test", {})],
        "CouponForm.picture": [("POST", "/merchant/coupons/new", COUPON), ("POST", draft_coupon, COUPON)],
        "CouponForm.segment": [("POST", "/merchant/coupons/new", COUPON), ("POST", draft_coupon, COUPON)],
        "EndForm.shop": [("POST", f"/merchant/coupons/{own('coupon_template_id')}/acceptors/end", {})],
        "EntriesQuery.partner": [("GET", f"/merchant/alliance/{SPOTS['month']}/entries", {})],
        "LogWishes.staff": [("GET", "/merchant/redemptions", {}), ("POST", "/merchant/redemptions/export", {})],
        "LogWishes.coupon_template": [
            ("GET", "/merchant/redemptions", {}),
            ("POST", "/merchant/redemptions/export", {}),
        ],
        "LogQuery.staff": [("GET", "/merchant/redemptions", {})],
        "LogQuery.coupon_template": [("GET", "/merchant/redemptions", {})],
        "GiveForm.coupon_template": [("POST", "/merchant/till/give", {"shown": "nobody's", "nonce": "walk"})],
        "GiftForm.coupon_template": [("POST", f"/merchant/points/fans/{own('number')}/give", {"nonce": "walk"})],
        "AnswerForm.coupon": [("POST", f"/merchant/talks/{own('talk_id')}/messages", {"nonce": "walk"})],
        "AssignForm.staff": [("POST", f"/merchant/talks/{own('talk_id')}/assign", {})],
        "OfferForm.coupon_template": [
            ("POST", "/merchant/points/offers", {"price": "9", "stock": "9", "per_person": "1"}),
        ],
    }
    for name in sorted(numeric_fields()):
        if name in NUMBERS_THAT_NAME_NOBODY:
            continue
        assert name in asked, (
            f"The walk does not know what {name} names: say in field_steps where it is asked for,"
            " or in NUMBERS_THAT_NAME_NOBODY why it names nobody."
        )
        for method, path, fields in asked[name]:
            adapter = app.url_map.bind("127.0.0.1")
            endpoint, _values = adapter.match(path, method)
            access = access_of(app.view_functions[endpoint])
            assert access is not None
            yield Step(endpoint, access, method, _constant(path), (), name.partition(".")[2], tuple(fields.items()))


def _constant(path: str) -> Callable[[dict[str, str]], str]:
    return lambda _values: path


def numeric_fields() -> set[str]:
    """Fields below /merchant that take digits, as Model.field."""
    from web.forms import Form

    def below(model: type[Any]) -> Iterator[type[Any]]:
        for child in model.__subclasses__():
            yield child
            yield from below(child)

    found = set()
    for model in (*below(Query), *below(Form)):
        if model.__module__.startswith(("web.merchant.", "web.reply_rules")):
            for name, info in model.model_fields.items():
                patterns = "".join(getattr(one, "pattern", None) or "" for one in info.metadata)
                if "int" in str(info.annotation) or "0-9]" in str(info.annotation) + patterns:
                    found.add(f"{model.__name__}.{name}")
    return found


def walk(app: Flask, town: Town) -> list[str]:
    """Everything that went differently for something of B's than for something that does not exist."""
    visitors: dict[StaffRole | None, Visitor] = {
        role: Visitor(app, town.a.people[role]) for role in (StaffRole.OWNER, StaffRole.CLERK)
    }
    visitors[None] = Visitor(app, None)
    for login in town.b.people.values():
        Visitor(app, login)
    wrong = []
    before = rows_of(town.runtime)
    for step in [*route_steps(app), *field_steps(app, town)]:
        for role, visitor in visitors.items():
            if role is None and step.access.database is None:
                continue
            wrong += compare(town, step, role, visitor)
            after = rows_of(town.runtime)
            changed = {name for name in after if after[name] != before[name]}
            if changed - (AUDIT if step.endpoint in NOTED else set()):
                wrong.append(f"{visitor.name} {step.method} {step.endpoint} wrote to {', '.join(sorted(changed))}")
            before = after
    return wrong


def compare(town: Town, step: Step, role: StaffRole | None, visitor: Visitor) -> list[str]:
    """One step with each of B's ids beside the same step with ids of nobody."""
    wrong = []
    names = (*step.parameters, *([step.field] if step.field else []))
    # The three pictures of a form are pictures.
    kinds = {name: f"{name.rstrip('123')}_id" if name == step.field else name for name in names}
    nobody = {name: NOBODYS_NUMBER if kinds[name] == "number" else str(NOBODYS_ID) for name in names}
    expected = step.take(visitor, nobody)
    may_enter = role is not None and role in step.access.roles
    if may_enter and not step.field and expected.status != 404:
        wrong.append(f"{visitor.name} {step.method} {step.endpoint} answers {expected.status} about nothing")
    foreign_ids = list(product(*(town.ids(kinds[name], town.b) for name in names)))
    # Who may not enter at all meets the same closed door whatever is behind it.
    for values in foreign_ids if may_enter else foreign_ids[:1]:
        foreign = dict(zip(names, values, strict=True))
        found = step.take(visitor, foreign)
        if found != expected:
            wrong.append(
                f"{visitor.name} {step.method} {step.endpoint} {foreign}: {found.status} instead of {expected.status},"
                f" {_first_difference(found.content, expected.content)}"
            )
    return wrong


def _first_difference(found: str, expected: str) -> str:
    for mine, theirs in zip(found.splitlines(), expected.splitlines(), strict=False):
        if mine != theirs:
            return f"{mine[:200]!r} instead of {theirs[:200]!r}"
    return "one is longer"


def rows_of(runtime: Runtime) -> dict[str, str]:
    """A hash over every table's rows, but for the note of when somebody was last seen."""
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=20) as session:
        connection = driver(session)
        return {str(name): str(value) for name, value in connection.execute(_hashes(runtime.database), prepare=True)}


@cache
def _hashes(database: Database) -> sql.Composed:
    """Planning it takes longer than running it: one that stays the same is prepared once."""
    with database.transaction(Role.PLATFORM) as session:
        tables = session.execute(
            text("""
                SELECT c.relname, EXISTS (SELECT 1 FROM pg_attribute a
                                          WHERE a.attrelid = c.oid AND a.attname = 'last_seen_at')
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition""")
        ).all()
    return sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {}, sum(hashtextextended({}::text, 0)) FROM {} t").format(
            sql.Literal(name), sql.SQL("(to_jsonb(t) - 'last_seen_at')" if has_moment else "t"), sql.Identifier(name)
        )
        for name, has_moment in tables
    )


# ---- Where it is walked ----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk is faster than any visitor."""
    monkeypatch.setattr(limiter, "enabled", False)


MakeTown = Callable[[str], Town]


@pytest.fixture
def new_town(
    settings: Settings, servers: ServerUrls, new_database: Callable[[str], str], urls: ServerUrls
) -> Iterator[MakeTown]:
    """Makes a town in a database of its own, in which policies may be dropped."""
    made: list[Runtime] = []

    def make(purpose: str) -> Town:
        runtime = Runtime.build(settings, ServerUrls(new_database(purpose), urls.redis_url))
        made.append(runtime)
        give_striking_ids(runtime)
        return Town(runtime)

    yield make
    for runtime in made:
        runtime.database.dispose()


def give_striking_ids(runtime: Runtime) -> None:
    """Ids that are told from every other number on a page, and from those of other tables."""
    with runtime.database.transaction(Role.MIGRATE) as session:
        columns = session.execute(
            text("""
                SELECT table_name, column_name FROM information_schema.columns
                WHERE table_schema = 'public' AND is_identity = 'YES' AND data_type = 'bigint' ORDER BY 1""")
        ).all()
        for number, (table_name, column_name) in enumerate(columns):
            first = 7_000_000_000_000_001 + number * 1_000_000_000
            session.execute(text(f"ALTER TABLE {table_name} ALTER COLUMN {column_name} RESTART WITH {first}"))


@pytest.fixture
def town(new_town: MakeTown) -> Town:
    return new_town("town")


def open_policies(town: Town) -> None:
    """From now on the database shows everybody everything they were granted."""
    with town.runtime.database.transaction(Role.MIGRATE) as session:
        tables = session.execute(
            text("SELECT oid::regclass::text FROM pg_class WHERE relrowsecurity AND relkind IN ('r', 'p')")
        ).scalars()
        for name in tables.all():
            session.execute(text(f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"))


OWN = re.compile(r"\b(?:\w+\.)?(?:from_|to_)?merchant_id = (?:%\(\w+\)s(?:::\w+)?|ANY\(%\(\w+\)s\))")


def strip_filters(town: Town) -> None:
    """From now on no statement of a merchant's page says whose rows it means."""

    def strip(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> Any:
        return OWN.sub("(1 = 1)", statement) if statement.lstrip().startswith(
            ("SELECT", "WITH")
        ) else statement, parameters

    event.listen(town.runtime.database.engine(Role.MERCHANT), "before_cursor_execute", strip, retval=True)


def test_nothing_of_another_merchant_can_be_told_from_nothing(town: Town) -> None:
    """TN-3."""
    app = create_app(town.runtime)
    assert len({step.endpoint for step in route_steps(app)}) > 10
    assert "\n".join(walk(app, town)) == ""
    assert violations(town.runtime.database) == {}


def test_the_policies_alone_keep_merchants_apart(town: Town) -> None:
    """Even if no statement named its merchant."""
    strip_filters(town)
    assert "\n".join(walk(create_app(town.runtime), town)) == ""


def test_without_policies_and_filters_the_walk_fails(town: Town) -> None:
    """The control: the walk sees what it looks for."""
    open_policies(town)
    strip_filters(town)
    wrong = walk(create_app(town.runtime), town)
    for endpoint in ("merchant_codes.show", "merchant_fans.show", "merchant_welcome.overview"):
        assert any(endpoint in sentence for sentence in wrong), endpoint


# ---- What a merchant reads -------------------------------------------------------------------------------------------


def all_pages(app: Flask, town: Town, owner: Visitor) -> dict[str, Answer]:
    """Everything A's owner can read, exports last."""
    seen: dict[str, Answer] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        access = access_of(app.view_functions[rule.endpoint])
        if access is None or StaffRole.OWNER not in access.roles or "GET" not in (rule.methods or ()):
            continue
        names = sorted(rule.arguments - SPOTS.keys() - (rule.defaults or {}).keys())
        for values in product(*(town.ids(name, town.a) for name in names)):
            path = _builder(app, rule)(dict(zip(names, values, strict=True)))
            seen[path] = owner.ask("GET", path)
    for path, name, value in (
        ("/merchant/fans", "q", "常客"),
        ("/merchant/fans", "q", "记得"),
        ("/merchant/talks", "box", "all"),
        ("/merchant/talks", "q", "几点开门"),
        ("/merchant/codes", "q", "门"),
        ("/merchant/codes", "state", "retired"),
    ):
        seen[f"{path}?{name}={value}"] = owner.ask("GET", path, **{name: value})
    seen["export"] = owner.ask("POST", "/merchant/fans/export")
    return seen


def test_what_another_merchant_does_changes_no_byte(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """TN-5."""
    app = create_app(town.runtime)
    moment: datetime = town.runtime.now()
    monkeypatch.setattr(Clock, "now", lambda _clock: moment)
    owner = Visitor(app, town.a.people[StaffRole.OWNER])
    before = all_pages(app, town, owner)
    assert {path: answer.status for path, answer in before.items() if answer.status != 200} == {}
    change_everything(town, town.b)
    after = all_pages(app, town, owner)
    assert before.keys() == after.keys()
    for path, answer in before.items():
        assert after[path].status == answer.status, path
        assert after[path].content == answer.content, (
            f"{path}: {_first_difference(after[path].content, answer.content)}"
        )


def change_everything(town: Town, shop: Shop) -> None:
    """A busy day at B's."""
    now, first = town.street.now, shop.codes[0]
    people = [new_openid() for _ in range(3)]
    town.take_in(*(subscribed(one, now - timedelta(hours=5), first.scene) for one in people))
    town.take_in(*(scanned(one, now - timedelta(hours=4), shop.codes[1].scene) for one in people))
    town.take_in(unsubscribed(people[0], now - timedelta(hours=3)), wrote(people[1], now - timedelta(hours=3)))
    shop.codes.append(town.street.code(shop.id, "外卖袋"))
    with town.runtime.transaction(Role.PLATFORM) as session:
        card = cards.Card(intro="今天有鱼", address="东门", hours="9–21")
        cards.show(session, merchant_id=shop.id, card=card, hosts=frozenset())
        shop.picture_id = new_picture(session, shop.id, "#000000")
        wanted = looks.Wishes(slogan="今天有鱼", design=Design.PLAIN)
        looks.save(session, merchant_id=shop.id, wanted=wanted, now=now, operator_id=1)
        looks.save(session, merchant_id=shop.id, wanted=looks.Wishes(slogan="明天有虾"), now=now)
        token = staff.invite(session, name="新店员", role=StaffRole.CLERK, merchant_id=shop.id, now=now)
        staff.accept(session, token=token, login=f"new-{shop.id}", password=PASSWORD, now=now)
        town.say(session, shop, code_id=None, operator_id=1, words="今天有鱼")
        writing.create(session, merchant_id=shop.id, staff_id=1, words=Words(WordsKind.TEXT, "今天有鱼"))
        writing.cancel(session, merchant_id=shop.id, broadcast_id=shop.draft_id)
        templates.throw_away(session, merchant_id=shop.id, template_id=shop.draft_coupon_id)
        for own in templates.listed(session, merchant_id=shop.id, states=(TemplateState.LIVE,)):
            templates.pause(session, merchant_id=shop.id, template_id=own.template.id, staff_id=1)
        town.say(session, shop, code_id=first.id, operator_id=None, words="今天有鱼")
        for fan in fans.page(session, shop.id):
            fans.set_note(session, shop.id, fan.follower_id, "爱吃鱼")
            fans.set_tags(session, shop.id, fan.follower_id, ["鱼"])
        town.hear(session, shop, "今天有鱼吗，几点开门")
        audit.record(session, actor_kind="merchant", merchant_id=shop.id, action="walk", subject="again")


# ---- The database by itself ------------------------------------------------------------------------------------------


def visible(town: Town, shop: Shop | None) -> dict[str, tuple[int, int]]:
    """Rows of A and rows of others that the merchant role sees as this shop, in every table of merchants."""
    found = {}
    with town.runtime.transaction(Role.MERCHANT, merchant_id=shop.id if shop else None) as session:
        tables = session.execute(
            text("""
                SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                  AND a.attname = 'merchant_id' AND has_column_privilege(c.oid, a.attnum, 'SELECT')""")
        ).scalars()
        for name in tables.all():
            owner: ColumnClause[int] = column("merchant_id")
            own, foreign = (func.count().filter(is_so) for is_so in (owner == town.a.id, owner != town.a.id))
            counted = session.execute(select(own, foreign).select_from(table(name))).one()
            found[name] = (counted[0], counted[1])
    return found


def test_plain_sql_as_a_merchant_sees_its_own_rows_and_no_others(town: Town) -> None:
    """TN-2: as A, as nobody in particular, and, for comparison, without the policies."""
    for shop in (town.a, town.b):
        Visitor(create_app(town.runtime), shop.people[StaffRole.OWNER])
    seen = visible(town, town.a)
    assert len(seen) > 8
    assert {name: rows for name, rows in seen.items() if not rows[0] or rows[1]} == {}
    assert set(visible(town, None).values()) == {(0, 0)}
    open_policies(town)
    assert all(own and foreign for own, foreign in visible(town, town.a).values())
