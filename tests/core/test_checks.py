"""Every check sees the violation it is there for, under the role that `quanma check` runs as."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from bot.inbox import Inbox
from campaigns.points import adjustments, ledger, rules
from campaigns.points.ledger import Cause
from campaigns.points.models import RuleTrigger
from campaigns.points.rules import Rule
from core import audit, checks
from core.database import Database, Role
from core.migrate import upgrade
from core.runtime import Runtime
from core.servers import ServerUrls
from core.settings import Settings
from qrcodes import rollups
from tests.community import Neighbourhood, new_openid, scanned, subscribed, unsubscribed, wrote
from tests.conftest import SECRET_KEY, create_database, drop_database, violations


@pytest.fixture(scope="module")
def story(servers: ServerUrls, settings: Settings, new_database: Callable[[str], str]) -> str:
    """The name of a database in which a little has happened, and nothing wrong."""
    url = new_database("story")
    runtime = Runtime.build(settings, ServerUrls(url, servers.redis_url), pooled=False)
    street = Neighbourhood(runtime)
    inbox = Inbox(runtime)
    tea, noodles = street.code(street.merchant("茶馆")), street.code(street.merchant("面馆"))
    ann, ben, start = new_openid(), new_openid(), street.now - timedelta(days=3)
    for event in (
        subscribed(ann, start, tea.scene),
        scanned(ann, start + timedelta(hours=1), noodles.scene),
        wrote(ann, start + timedelta(hours=2)),
        subscribed(ben, start, noodles.scene),
        unsubscribed(ben, start + timedelta(days=2, hours=12)),
        subscribed(ben, start + timedelta(days=2, hours=13)),
    ):
        inbox.receive([event])
    with runtime.transaction(Role.PLATFORM) as session:
        _earn_points(session, tea.merchant_id, street.now)
        for number in range(3):
            audit.record(session, actor_kind="system", action="test", subject=f"thing:{number}")
        rollups.count_all(session)
    assert violations(runtime.database) == {}
    runtime.database.dispose()
    return make_url(url).database or ""


def _earn_points(session: Session, merchant_id: int, now: datetime) -> None:
    """Somebody of the first shop checks in, is given something by hand, and spends a little."""
    who = session.execute(text("SELECT min(id) FROM follower")).scalar_one()
    clerk = session.execute(
        text("INSERT INTO staff (merchant_id, role, name) VALUES (:id, 'owner', '小王') RETURNING id"),
        {"id": merchant_id},
    ).scalar_one()
    rule = Rule(RuleTrigger.CHECK_IN, points=5, most_per_person=5, most_per_day=500)
    rules.save(session, merchant_id=merchant_id, rule=rule, now=now)
    rules.check_in(session, merchant_id=merchant_id, follower_id=who, now=now)
    adjustments.ask(
        session, merchant_id=merchant_id, follower_id=who, staff_id=clerk, points=20, reason="补发", now=now
    )
    ledger.spend(session, merchant_id=merchant_id, follower_id=who, points=3, cause=Cause("test", 1), now=now)


@pytest.fixture
def ruin(servers: ServerUrls, story: str, worker_number: int) -> Iterator[Callable[[str, str], dict[str, object]]]:
    """Does the owner's `prepare`, then the platform's `plant` on a copy of the story; returns what the checks see."""
    name = f"quanma_test_{worker_number}_ruin"
    database = Database(create_database(servers, name, template=story), SECRET_KEY, pooled=False)

    def do(prepare: str, plant: str) -> dict[str, object]:
        with database.transaction(Role.MIGRATE) as session:
            session.connection().exec_driver_sql(prepare or "SELECT 1")
        with database.transaction(Role.PLATFORM) as session:
            session.connection().exec_driver_sql(plant or "SELECT 1")
        return dict(violations(database))

    yield do
    database.dispose()
    drop_database(servers, name)


FREE_SCANS = "ALTER TABLE scan DISABLE TRIGGER USER; GRANT UPDATE ON scan TO quanma_platform"
FREE_CREDITS = "ALTER TABLE attribution DISABLE TRIGGER USER; GRANT UPDATE ON attribution TO quanma_platform"
FREE_BALANCES = "ALTER TABLE points_account DISABLE TRIGGER USER"
FREE_OWNERS = "ALTER TABLE code_owner DISABLE TRIGGER USER"

BATCH_CALLED = """
    WITH called AS (
        INSERT INTO broadcast (account_id, merchant_id, state, content_hash)
        SELECT account_id, id, 'running', 'words' FROM merchant LIMIT 1 RETURNING id, merchant_id),
    batch AS (
        INSERT INTO send_batch (broadcast_id, no, merchant_id, size, month, week, clientmsgid, state)
        SELECT id, 1, merchant_id, 0, '2026-01-01', '2026-01-26', 'qm' || id || '-1-words', 'calling' FROM called)
    SELECT 1"""
"""A broadcast with a batch that is being called."""

RULE = """
    WITH rule AS (
        INSERT INTO reply_rule (account_id, merchant_id, name)
        SELECT account_id, id, '地址' FROM merchant LIMIT 1 RETURNING id, merchant_id)"""
"""A rule of a merchant's."""

FREE_EDGES = "ALTER TABLE referral DISABLE TRIGGER USER; ALTER TABLE referral DROP CONSTRAINT ck_referral_two"
CARDS = """
    INSERT INTO invite (merchant_id, follower_id, public_id, expires_at)
    SELECT (SELECT min(id) FROM merchant), id, 'card-' || id, app_now() FROM follower;"""
EDGE = """
    INSERT INTO referral (invitee_id, inviter_id, merchant_id, invite_id, came_by)
    SELECT (SELECT {invitee}(id) FROM follower), follower_id, merchant_id, id, 'scan' FROM invite
    WHERE follower_id = (SELECT {inviter}(id) FROM follower);"""
BROUGHT = CARDS + EDGE.format(invitee="max", inviter="min")
"""The younger of two followers came by the elder one's card."""
REWARD = """
    INSERT INTO referral_reward (merchant_id, invitee_id, level, beneficiary_id, cause_type, cause_id, state, suspicion)
    SELECT merchant_id, invitee_id, {level}, inviter_id, 'redemption', 0, '{state}', '{suspicion}' FROM referral"""

COUPON = """
    INSERT INTO coupon_template (merchant_id, public_id, name, kind, value_fen, worth_fen, lasts_days, stock,
                                 budget_fen, issued, committed_fen, review, state, per_day, per_person)
    SELECT min(id), 'tea', '立减十元', 'amount', 1000, 1000, 30, 9, 9000, 2, 2000, 'approved', 'live', 5, 2
    FROM merchant;
    INSERT INTO coupon_template_day (merchant_id, template_id, day, given, most)
    SELECT merchant_id, id, (app_now() AT TIME ZONE 'Asia/Shanghai')::date, 2, 5 FROM coupon_template;
    INSERT INTO coupon (merchant_id, template_id, public_id, follower_id, seq, cause, channel, worth_fen, uses,
                        uses_left, valid_from, valid_to)
    SELECT t.merchant_id, t.id, 'c' || n, f.id, n, 'page:' || n, 'page', 1000, 1, 1, app_now(),
           app_now() + interval '30 days'
    FROM coupon_template t, (SELECT min(id) AS id FROM follower) f, generate_series(1, 2) n;"""
"""Somebody holds two coupons, as they should be."""

REDEEMED = f"""{COUPON}
    INSERT INTO staff (merchant_id, name, role) SELECT id, '店员', 'clerk' FROM merchant;
    INSERT INTO coupon_acceptor (merchant_id, template_id, acceptor_id, state, redeemed)
    SELECT merchant_id, id, (SELECT max(id) FROM merchant), 'agreed', 1 FROM coupon_template;
    UPDATE coupon SET state = 'redeemed', uses_left = 0, ended_at = app_now() WHERE seq = 1;
    INSERT INTO redemption (merchant_id, issuer_id, coupon_id, template_id, follower_id, staff_id, use_no,
                            discount_fen, is_first_here)
    SELECT s.merchant_id, c.merchant_id, c.id, c.template_id, c.follower_id, s.id, 1, 1000, true
    FROM coupon c, staff s WHERE c.seq = 1 AND s.merchant_id = (SELECT max(id) FROM merchant);
    WITH moved AS (
        INSERT INTO alliance_transfer (redemption_id, payer_id, earner_id)
        SELECT id, issuer_id, merchant_id FROM redemption RETURNING id, payer_id, earner_id)
    INSERT INTO alliance_entry (transfer_id, party_id, fen)
    SELECT id, payer_id, -400 FROM moved UNION ALL SELECT id, earner_id, 400 FROM moved;"""
"""One of the two was redeemed at a neighbour's till, as it should be."""
EARNED = """
    INSERT INTO points_rule (merchant_id, trigger, points, most_per_person, most_per_day)
    SELECT max(id), 'visit', 10, 100, 100 FROM merchant;
    INSERT INTO points_transfer (merchant_id, follower_id, kind, points, rule_id, source_type, source_id)
    SELECT p.merchant_id, r.follower_id, 'earn', 10, p.id, 'redemption', {source} FROM points_rule p, redemption r;"""
TAKEN_BACK = "UPDATE redemption SET reversed_at = app_now();"

CATEGORY = "INSERT INTO directory_category (account_id, name) SELECT id, '锁匠' FROM official_account;"
MENU = """
    INSERT INTO menu_version (account_id, origin, buttons, state, published_at, replaced_at)
    SELECT id, 'written', '{buttons}', 'published', app_now() - interval '{days} days', {replaced}
    FROM official_account;"""
ONE_BUTTON = '[{"name": "优惠", "type": "click", "key": "words:优惠券"}]'

PLANTS: dict[str, tuple[str, str]] = {
    "mn01_one_menu_in_force": (
        "DROP INDEX uq_menu_version_in_force",
        "".join(MENU.format(buttons=ONE_BUTTON, days=days, replaced="NULL") for days in (1, 2)),
    ),
    "mn02_menus_are_as_the_platform_takes_them": (
        "", MENU.format(buttons='[{"name": "优惠", "sub_button": []}]', days=1, replaced="NULL")
    ),
    "co03_redeemed_once": (
        "", f"{REDEEMED} UPDATE coupon SET state = 'issued', uses_left = 1, ended_at = NULL WHERE seq = 1"
    ),
    "co04_redeemed_where_agreed": ("", f"{REDEEMED} DELETE FROM coupon_acceptor"),
    "co08_reversed_once_with_a_reason": ("", f"{REDEEMED} {TAKEN_BACK}"),
    "co10_redemption_and_its_points_agree": (
        "ALTER TABLE points_transfer DISABLE TRIGGER USER", REDEEMED + EARNED.format(source="r.id + 1")
    ),
    "co10_redemption_and_its_debt_agree": ("", f"{REDEEMED} {TAKEN_BACK}"),
    "pt01_alliance_sums_to_zero": (
        "ALTER TABLE alliance_transfer DISABLE TRIGGER USER",
        f"""{REDEEMED} INSERT INTO alliance_transfer (redemption_id, is_reversal, payer_id, earner_id)
            SELECT id, true, issuer_id, merchant_id FROM redemption""",
    ),
    "co01_given_is_counted": ("", f"{COUPON} UPDATE coupon_template SET issued = 3"),
    "co01_days_are_counted": ("", f"{COUPON} UPDATE coupon_template_day SET given = 1"),
    "co02_nobody_has_more_than_the_limit": ("", f"{COUPON} UPDATE coupon SET seq = 3 WHERE seq = 2"),
    "co02_passed_on_is_given_away": (
        "",
        f"{COUPON} UPDATE coupon SET state = 'given_away', ended_at = app_now() WHERE seq = 2",
    ),
    "co05_used_within_its_time": (
        "",
        f"{COUPON} UPDATE coupon SET state = 'expired', ended_at = valid_to - interval '1 ms' WHERE seq = 2",
    ),
    "co09_nobody_blocked_is_given": (
        "",
        f"""{COUPON} INSERT INTO benefit_block (follower_id, reason, blocked_by, blocked_at)
            SELECT follower_id, '刷券', 1, app_now() - interval '1 hour' FROM coupon LIMIT 1""",
    ),
    "rf01_one_inviter": (
        f"{FREE_EDGES}; ALTER TABLE referral DROP CONSTRAINT pk_referral CASCADE",
        BROUGHT + EDGE.format(invitee="max", inviter="max"),
    ),
    "rf02_nobody_brings_themselves": (FREE_EDGES, CARDS + EDGE.format(invitee="max", inviter="max")),
    "rf03_no_rings": (FREE_EDGES, BROUGHT + EDGE.format(invitee="min", inviter="max")),
    "rf03_only_newcomers_are_brought": (
        f"{FREE_EDGES}; GRANT UPDATE ON referral TO quanma_platform",
        BROUGHT
        + EDGE.format(invitee="min", inviter="max")
        + "UPDATE referral SET at = at + interval '1 day' WHERE invitee_id = (SELECT max(id) FROM follower)",
    ),
    "rf04_two_levels": (FREE_EDGES, BROUGHT + REWARD.format(level=2, state="held", suspicion="burst")),
    "rf05_only_rewards_pay": (
        "ALTER TABLE points_transfer DISABLE TRIGGER USER",
        """WITH rule AS (
               INSERT INTO points_rule (merchant_id, trigger, points, most_per_person, most_per_day)
               SELECT min(id), 'referral', 10, 100, 100 FROM merchant RETURNING id, merchant_id)
           INSERT INTO points_transfer (merchant_id, follower_id, kind, points, rule_id, source_type, source_id)
           SELECT merchant_id, (SELECT min(id) FROM follower), 'earn', 10, id, 'referral_follow', 1 FROM rule""",
    ),
    "rf06_rewards_are_earned_at_the_till": (
        FREE_EDGES, BROUGHT + REWARD.format(level=1, state="held", suspicion="burst")
    ),
    "rf07_held_means_not_paid": (FREE_EDGES, BROUGHT + REWARD.format(level=1, state="paid", suspicion="burst")),
    "ev02_one_row_per_event": (
        "",
        """INSERT INTO inbox_event (month, account_id, dedupe_key, source, kind, event_at)
           SELECT (month - interval '1 month')::date, account_id, dedupe_key, source, kind, event_at
           FROM inbox_event LIMIT 1""",
    ),
    "ev03_effects_once": (
        "",
        """INSERT INTO scan (month, inbox_id, follower_id, scene, scanned_at, led_to_follow)
           SELECT (month - interval '1 month')::date, inbox_id, follower_id, scene, scanned_at, false
           FROM scan LIMIT 1""",
    ),
    "ev04_nothing_stuck": (
        "",
        """INSERT INTO outbox (kind, queue, dedupe_key, payload, next_try_at)
           VALUES ('x', 'default', 'x', '{}', clock_timestamp() - interval '1 hour')""",
    ),
    "ev05_status_fits_episodes": ("", "UPDATE follower SET status = 'gone'"),
    "ev05_episodes_apart": (
        "",
        "UPDATE follow_episode SET ended_at = ended_at + interval '5 hours' WHERE ended_at IS NOT NULL",
    ),
    "ev07_ambiguous_decided": (
        "",
        "UPDATE follower SET status = 'ambiguous', state_as_of = app_now() - interval '1 hour'",
    ),
    "ev08_one_attribution_in_force": (
        "ALTER TABLE attribution DROP CONSTRAINT uq_attribution_supersedes",
        """INSERT INTO attribution (episode_id, follower_id, kind, followed_at, rule, rule_version, source, supersedes)
           SELECT episode_id, follower_id, kind, followed_at, rule, rule_version, source, id
           FROM attribution LIMIT 1""",
    ),
    "ev09_credit_by_the_rule": (
        FREE_CREDITS,
        "UPDATE attribution SET merchant_id = (SELECT min(id) FROM merchant), kind = 'new' WHERE kind = 'returning'",
    ),
    "ev10_scans_count_for_the_owner": (
        FREE_SCANS,
        "UPDATE scan SET merchant_id = (SELECT max(id) FROM merchant) + (SELECT min(id) FROM merchant) - merchant_id",
    ),
    "ev11_events_outrank_the_reconciler": (
        "",
        """INSERT INTO attribution (episode_id, follower_id, kind, followed_at, rule, rule_version, source, supersedes)
           SELECT episode_id, follower_id, kind, followed_at, rule, rule_version, 'reconcile', id
           FROM attribution WHERE source = 'event' LIMIT 1""",
    ),
    "ev14_times_are_believable": ("", "UPDATE inbox_event SET event_at = received_at + interval '1 day'"),
    "cx01_choices_are_their_own": (
        "",
        """INSERT INTO context_choice (inbox_id, follower_id, merchant_id, at, by)
           SELECT id, follower_id, (SELECT min(id) FROM merchant), event_at + interval '1 second', 'name'
           FROM inbox_event WHERE kind = 'text'""",
    ),
    "cx02_questions_end": (
        "",
        """INSERT INTO pending_question (follower_id, kind, asked_at, expires_at, put_at)
           SELECT id, 'merchant', at, at + interval '12 hours', at
           FROM follower, LATERAL (SELECT app_now() - interval '50 days' AS at) long_ago""",
    ),
    "cx03_answers_have_an_author": ("", "UPDATE inbox_event SET answered_by = 'none' WHERE reply IS NOT NULL"),
    "fa02_gone_means_erased": ("", "UPDATE follower SET erase_due_at = app_now() - interval '2 hours'"),
    "fa02_nothing_left_of_the_erased": ("", "UPDATE follower SET erased_at = app_now(), openid = NULL"),
    "fa08_numbers_differ": ("", "UPDATE fan SET number = 'SAME' || follower_id"),
    "nb01_what_is_paid_for_ends": (
        "ALTER TABLE notice DROP CONSTRAINT ck_notice_paid",
        """INSERT INTO notice (account_id, title, words, state, is_paid, shown_from, published_at, created_by)
           SELECT id, '开张', '来看看', 'published', true, app_now(), app_now(), 1 FROM official_account""",
    ),
    "nb02_numbers_can_be_called": (
        "ALTER TABLE directory_entry DROP CONSTRAINT ck_directory_entry_phone",
        f"{CATEGORY} INSERT INTO directory_entry (account_id, category_id, name, phone)"
        " SELECT account_id, id, '老张', '微信 zhang' FROM directory_category",
    ),
    "nb03_read_means_posted": (
        "",
        """INSERT INTO notice (account_id, title, words, shown_from, created_by)
           SELECT id, '停水', '明天停水', app_now(), 1 FROM official_account;
           INSERT INTO notice_read (notice_id, follower_id) SELECT n.id, min(f.id) FROM notice n, follower f
           GROUP BY n.id""",
    ),
    "nb04_a_word_leads_to_one_category": (
        "",
        f"{CATEGORY} INSERT INTO directory_category (account_id, name, aliases)"
        " SELECT account_id, '开锁', ARRAY['锁匠'] FROM directory_category",
    ),
    "qr01_pool_is_counted": ("", "UPDATE scene_pool SET used = used + 1"),
    "qr02_one_owner_at_a_time": (
        "DROP INDEX uq_code_owner_open",
        "INSERT INTO code_owner (code_id, merchant_id, from_at) SELECT code_id, merchant_id, app_now() FROM code_owner",
    ),
    "qr02_hands_change_by_agreement": (
        "",
        """UPDATE code_owner SET to_at = app_now();
           INSERT INTO code_owner (code_id, merchant_id, from_at, to_at)
           SELECT code_id, merchant_id, to_at, to_at FROM code_owner""",
    ),
    "qr02_owner_of_today": (FREE_OWNERS, "UPDATE code_owner SET to_at = app_now()"),
    "qr08_suspended_merchants_have_no_code": ("", "UPDATE merchant SET state = 'suspended'"),
    "bc02_accepted_once": (
        "",
        """INSERT INTO send_attempt (broadcast_id, follower_id, attempt, moment, outcome)
           SELECT 1, 1, n, 'after', 'sent' FROM generate_series(1, 2) n""",
    ),
    "bc04_slots_are_counted": (
        "",
        """INSERT INTO fan_month_quota (follower_id, month, used, week, week_used)
           SELECT id, '2026-01-01', 1, '2026-01-05', 1 FROM follower LIMIT 1""",
    ),
    "bc05_shares_are_counted": (
        "",
        "INSERT INTO merchant_month_quota (merchant_id, month, used) SELECT id, '2026-01-01', 1 FROM merchant LIMIT 1",
    ),
    "bc06_no_call_at_a_months_end": (
        "",
        f"{BATCH_CALLED}; INSERT INTO send_attempt (broadcast_id, batch_id, attempt, moment, at)"
        " SELECT broadcast_id, id, 1, 'before', '2026-01-31 15:58:30Z' FROM send_batch",
    ),
    "bc08_calls_are_counted": (
        "",
        "INSERT INTO send_attempt (broadcast_id, batch_id, attempt, moment) VALUES (1, 1, 1, 'before')",
    ),
    "bc09_batches_are_of_one_kind": ("", f"{BATCH_CALLED}; UPDATE send_batch SET size = 2"),
    "bc12_finished_means_nothing_open": (
        "",
        f"{BATCH_CALLED}; UPDATE broadcast SET state = 'finished', finished_at = app_now()",
    ),
    "bc14_batches_have_their_own_numbers": ("", f"{BATCH_CALLED}; UPDATE send_batch SET clientmsgid = 'qm0-1-words'"),
    "bc15_what_was_agreed_was_sent": (
        "",
        f"{BATCH_CALLED}; INSERT INTO send_attempt (broadcast_id, batch_id, attempt, moment, content_hash)"
        " SELECT broadcast_id, id, 1, 'after', 'other words' FROM send_batch",
    ),
    "tk01_talks_are_counted": ("", "UPDATE talk SET unread = unread + 1"),
    "tk02_answers_keep_to_their_shop": (
        "",
        """UPDATE message_window w SET merchant_id = (SELECT max(id) FROM merchant WHERE id <> t.merchant_id), used = 1
           FROM talk t WHERE w.follower_id = t.follower_id AND w.trigger = 'message';
           INSERT INTO talk_message (merchant_id, talk_id, direction, kind, content, state, window_id, calling_at, at)
           SELECT t.merchant_id, t.id, 'out', 'text', '好', 'sent', w.inbox_id, app_now(), app_now()
           FROM talk t JOIN message_window w ON w.follower_id = t.follower_id AND w.trigger = 'message'""",
    ),
    "tk03_answers_in_their_order": (
        "",
        """UPDATE message_window SET used = 2 WHERE trigger = 'message';
           INSERT INTO talk_message (merchant_id, talk_id, direction, kind, content, state, window_id, calling_at, at)
           SELECT t.merchant_id, t.id, 'out', 'text', '好', 'sent', w.inbox_id,
                  app_now() - n * interval '1 minute', app_now()
           FROM talk t JOIN message_window w ON w.follower_id = t.follower_id AND w.trigger = 'message',
                generate_series(1, 2) n ORDER BY n""",
    ),
    "tk04_enquiries_fit_their_talks": ("", "DELETE FROM enquiry"),
    "bc10_windows_are_not_overspent": (
        "",
        """WITH said AS (
               INSERT INTO welcome (variant, kind, text, position) VALUES ('first', 'text', '您好', 1) RETURNING id)
           INSERT INTO follow_up (inbox_id, follower_id, welcome_id, position, state)
           SELECT inbox_id, follower_id, said.id, 1, 'sent' FROM message_window, said""",
    ),
    "rules_in_force_were_agreed_to": (
        "",
        f"{RULE} INSERT INTO reply_rule_version (rule_id, merchant_id, patterns, answers, review)"
        """ SELECT id, merchant_id, '[{"mode": "exact", "words": "地址"}]', '[{"text": "东门"}]', 'approved'
            FROM rule""",
    ),
    "rules_are_their_owners": (
        "",
        f"{RULE} INSERT INTO reply_rule_version (rule_id, patterns, answers)"
        """ SELECT id, '[{"mode": "exact", "words": "地址"}]', '[{"text": "东门"}]' FROM rule""",
    ),
    "bc09_digests_keep_to_their_fans": (
        "",
        """WITH digest AS (
               INSERT INTO broadcast (account_id, kind) SELECT id, 'digest' FROM official_account RETURNING id),
           item AS (
               INSERT INTO broadcast (account_id, merchant_id, kind)
               SELECT account_id, id, 'item' FROM merchant WHERE name = '茶馆' RETURNING id, merchant_id),
           digested AS (
               INSERT INTO digest_item (digest_id, item_id, merchant_id, position)
               SELECT digest.id, item.id, item.merchant_id, 0 FROM digest, item RETURNING digest_id, item_id)
           INSERT INTO broadcast_recipient (broadcast_id, follower_id, group_no, route, state)
           SELECT digest_id, f.follower_id, 1, 'mass', 'planned'
           FROM digested, fan f JOIN merchant m ON m.id = f.merchant_id AND m.name = '面馆'""",
    ),
    "pt01_transfers_sum_to_zero": (
        "ALTER TABLE points_transfer DISABLE TRIGGER USER; ALTER TABLE points_entry DISABLE TRIGGER USER",
        "INSERT INTO points_entry (transfer_id, account_id, merchant_id, points)"
        " SELECT t.id, a.id, t.merchant_id, 5 FROM points_transfer t"
        " JOIN points_account a ON a.merchant_id = t.merchant_id AND a.follower_id = t.follower_id"
        " LEFT JOIN points_entry e ON e.transfer_id = t.id AND e.account_id = a.id WHERE e.transfer_id IS NULL LIMIT 1",
    ),
    "pt02_ledgers_sum_to_zero": (FREE_BALANCES, "UPDATE points_account SET balance = balance + 1 WHERE kind = 'fan'"),
    "pt03_balances_are_their_entries": (
        FREE_BALANCES,
        """UPDATE points_account SET balance = balance + CASE kind WHEN 'fan' THEN 1 ELSE -1 END
           WHERE balance > 0""",
    ),
    "pt05_a_cause_pays_once": (
        "ALTER TABLE points_transfer DROP CONSTRAINT uq_points_transfer_cause;"
        " ALTER TABLE points_transfer DISABLE TRIGGER USER",
        """INSERT INTO points_transfer (merchant_id, follower_id, kind, points, rule_id, source_type, source_id)
           SELECT merchant_id, follower_id, kind, points, rule_id, source_type, source_id
           FROM points_transfer WHERE source_type = 'check_in'""",
    ),
    "pt06_entries_stay_in_their_ledger": (
        "",
        """WITH account AS (
               INSERT INTO points_account (merchant_id, follower_id, kind, balance)
               SELECT t.merchant_id, f.id, 'fan', 0 FROM follower f, points_transfer t
               WHERE f.id <> t.follower_id LIMIT 1 RETURNING id, merchant_id),
           transfer AS (
               INSERT INTO points_transfer (merchant_id, follower_id, kind, points, source_type, source_id)
               SELECT merchant_id, follower_id, 'earn', 3, 'planted', 1 FROM points_transfer LIMIT 1
               RETURNING id, merchant_id)
           INSERT INTO points_entry (transfer_id, account_id, merchant_id, points)
           SELECT transfer.id, side.id, transfer.merchant_id, side.points
           FROM transfer, account, LATERAL (
               SELECT account.id, 3 AS points UNION ALL
               SELECT a.id, -3 FROM points_account a
               WHERE a.merchant_id = transfer.merchant_id AND a.follower_id IS NULL) side""",
    ),
    "pt08_reversals_are_of_what_was_earned": (
        "",
        "INSERT INTO points_debt (transfer_id, merchant_id, account_id, points)"
        " SELECT t.id, t.merchant_id, a.id, t.points + 1 FROM points_transfer t"
        " JOIN points_account a ON a.merchant_id = t.merchant_id AND a.follower_id = t.follower_id AND a.kind = 'fan'"
        " WHERE t.kind = 'earn' LIMIT 1",
    ),
    "pt09_lots_add_up": ("", "UPDATE points_lot SET remaining = remaining - 1 WHERE remaining > 0"),
    "pt10_day_limits_are_kept": ("", "UPDATE points_rule_day SET paid = paid - 1"),
    "au09_points_by_hand_are_explained": (
        "",
        "INSERT INTO points_adjustment (merchant_id, follower_id, points, reason, needs_second, state, asked_by)"
        " SELECT t.merchant_id, t.follower_id, 50, '补发', false, 'done', s.id FROM points_transfer t, staff s LIMIT 1",
    ),
    "traffic_adds_up": (FREE_CREDITS, "UPDATE attribution SET kind = 'void' WHERE kind = 'returning'"),
    "traffic_rollup_is_true": ("", "UPDATE daily_traffic SET scanners = scanners + 1 WHERE level = 'code'"),
    "traffic_recent_is_true": ("", "UPDATE recent_traffic SET scanners = scanners + 1"),
    "traffic_onward_is_true": ("", "DELETE FROM onward_scan"),
    "fans_are_listed": ("", "DELETE FROM fan"),
    "tn01_tables_are_closed": ("ALTER TABLE fan NO FORCE ROW LEVEL SECURITY", ""),
    "tn02_no_way_around_the_parent": ("GRANT SELECT ON scan_default TO quanma_merchant", ""),
    "au09_audit_chain_holds": (
        "ALTER TABLE audit_log DISABLE TRIGGER USER; GRANT UPDATE ON audit_log TO quanma_platform",
        "UPDATE audit_log SET action = 'nothing' WHERE id = (SELECT min(id) FROM audit_log)",
    ),
}  # fmt: skip

BY_HAND = {"tn02_roles_cannot_bypass"}


def test_every_check_has_its_plant() -> None:
    assert {check.stem for check in checks.CHECKS.glob("*.sql")} == set(PLANTS) | BY_HAND


@pytest.mark.parametrize("check", sorted(PLANTS))
def test_the_check_sees_what_it_is_there_for(check: str, ruin: Callable[[str, str], dict[str, object]]) -> None:
    assert check in ruin(*PLANTS[check])


def test_coupons_as_they_should_be_are_no_finding(ruin: Callable[[str, str], dict[str, object]]) -> None:
    assert ruin("", COUPON) == {}


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        ("UPDATE coupon_template SET committed_fen = 1000", "co01_given_is_counted"),
        ("UPDATE coupon SET state = 'revoked', seq = 5 WHERE seq = 1", "co02_nobody_has_more_than_the_limit"),
        ("UPDATE follower SET erased_at = app_now(), openid = NULL", "co09_nobody_blocked_is_given"),
        (
            """INSERT INTO staff (merchant_id, name, role) SELECT min(id), '店员', 'clerk' FROM merchant;
               INSERT INTO redemption (merchant_id, issuer_id, coupon_id, template_id, follower_id, staff_id, use_no,
                                       discount_fen, is_first_here, redeemed_at)
               SELECT c.merchant_id, c.merchant_id, c.id, c.template_id, c.follower_id, s.id, 1, 0, true, c.valid_to
               FROM coupon c, staff s WHERE c.seq = 1 AND s.name = '店员'""",
            "co05_used_within_its_time",
        ),
    ],
)
def test_a_check_of_coupons_sees_the_other_ways_too(
    plant: str, check: str, ruin: Callable[[str, str], dict[str, object]]
) -> None:
    assert check in ruin("", f"{COUPON} {plant}")


def test_redemptions_as_they_should_be_are_no_finding(ruin: Callable[[str, str], dict[str, object]]) -> None:
    assert ruin("", REDEEMED) == {}


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        ("UPDATE coupon SET state = 'redeemed', uses_left = 0 WHERE seq = 2", "co03_redeemed_once"),
        ("UPDATE coupon_acceptor SET redeemed = 0", "co04_redeemed_where_agreed"),
        ("UPDATE staff SET merchant_id = (SELECT min(id) FROM merchant)", "co04_redeemed_where_agreed"),
        ("UPDATE coupon SET follower_id = (SELECT max(id) FROM follower)", "co04_redeemed_where_agreed"),
        (
            f"""{TAKEN_BACK} INSERT INTO redemption_reversal (redemption_id, merchant_id, staff_id, reason,
                                                             is_valid_again, reversed_at)
                SELECT id, merchant_id, staff_id, '', false, reversed_at FROM redemption""",
            "co08_reversed_once_with_a_reason",
        ),
        (EARNED.format(source="r.id") + TAKEN_BACK, "co10_redemption_and_its_points_agree"),
        (
            "UPDATE alliance_entry SET fen = fen * 3",
            "co10_redemption_and_its_debt_agree",
        ),
        ("UPDATE alliance_entry SET fen = 1", "pt01_alliance_sums_to_zero"),
    ],
)
def test_a_check_of_redemptions_sees_the_other_ways_too(
    plant: str, check: str, ruin: Callable[[str, str], dict[str, object]]
) -> None:
    free = (
        "ALTER TABLE points_transfer DISABLE TRIGGER USER; ALTER TABLE alliance_entry DISABLE TRIGGER USER;"
        "ALTER TABLE alliance_transfer DISABLE TRIGGER USER;"
        "GRANT UPDATE ON alliance_entry TO quanma_platform"
    )
    assert check in ruin(free, f"{REDEEMED} {plant}")


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (MENU.format(buttons=ONE_BUTTON, days=1, replaced="app_now()"), "mn01_one_menu_in_force"),
        (
            MENU.format(buttons=ONE_BUTTON, days=1, replaced="app_now()")
            + MENU.format(buttons=ONE_BUTTON, days=2, replaced="NULL"),
            "mn01_one_menu_in_force",
        ),
        (
            MENU.format(buttons='[{"name": "一二三四五六", "type": "view"}]', days=1, replaced="NULL"),
            "mn02_menus_are_as_the_platform_takes_them",
        ),
        (
            MENU.format(buttons='[{"name": "优惠", "type": "click", "sub_button": [{}]}]', days=1, replaced="NULL"),
            "mn02_menus_are_as_the_platform_takes_them",
        ),
    ],
)
def test_a_check_of_menus_sees_the_other_ways_too(
    plant: str, check: str, ruin: Callable[[str, str], dict[str, object]]
) -> None:
    """None in force, an older one in force, a name that is too long, an action beside children."""
    assert check in ruin("", plant)


BROADCAST = """
    UPDATE message_window SET used = {used}, wants_offers = {wants_offers} WHERE trigger = 'message';
    WITH one AS (
        INSERT INTO broadcast (account_id, merchant_id, state)
        SELECT account_id, id, 'running' FROM merchant, generate_series(1, {calls}) RETURNING id, merchant_id)
    INSERT INTO broadcast_recipient (broadcast_id, follower_id, merchant_id, route, state, window_id)
    SELECT one.id, w.follower_id, one.merchant_id, '{route}', '{state}', w.inbox_id
    FROM message_window w JOIN one ON (one.merchant_id = w.merchant_id) = {is_own}
    WHERE w.trigger = 'message'"""
FINE = {"used": 3, "wants_offers": "true", "calls": 1, "route": "window", "state": "sent", "is_own": "true"}


@pytest.mark.parametrize(
    ("how", "is_seen"),
    [
        ({}, False),
        ({"calls": 3}, False),
        ({"wants_offers": "false", "route": "hello"}, False),
        ({"used": 0, "state": "rejected"}, False),
        ({"used": 0}, True),
        ({"used": 0, "state": "calling"}, True),
        ({"used": 0, "state": "unknown"}, True),
        ({"used": 5, "calls": 4}, True),
        ({"wants_offers": "false"}, True),
        ({"is_own": "false"}, True),
    ],
)
def test_broadcasts_in_windows_are_seen_through(
    ruin: Callable[[str, str], dict[str, object]], how: dict[str, str | int], is_seen: bool
) -> None:
    """Uncounted, out of the last two, unasked, or in another merchant's conversation."""
    assert ("bc10_windows_are_not_overspent" in ruin("", BROADCAST.format(**{**FINE, **how}))) is is_seen


@pytest.mark.parametrize(
    ("which", "also"),
    [
        ("id = (SELECT max(id) FROM audit_log)", set()),
        (
            "id >= (SELECT id FROM audit_log WHERE starts_with(subject, 'adjustment:'))",
            {"au09_points_by_hand_are_explained"},
        ),
        ("true", {"au09_points_by_hand_are_explained"}),
    ],
)
def test_an_audit_log_whose_end_was_cut_off_is_seen(
    ruin: Callable[[str, str], dict[str, object]], which: str, also: set[str]
) -> None:
    """By the chain, whatever the end said; points by hand whose entry went with it are seen, too."""
    free = "ALTER TABLE audit_log DISABLE TRIGGER USER; GRANT DELETE ON audit_log TO quanma_platform"
    assert ruin(free, f"DELETE FROM audit_log WHERE {which}").keys() == {"au09_audit_chain_holds"} | also


def test_a_role_that_may_make_roles_is_seen(servers: ServerUrls, new_database: Callable[[str], str]) -> None:
    """Roles belong to the whole server, so this one is planted within a transaction that is rolled back."""
    database = Database(new_database("roles"), SECRET_KEY, pooled=False)
    statement = (checks.CHECKS / "tn02_roles_cannot_bypass.sql").read_text(encoding="utf-8")
    with database.engine(Role.MIGRATE).connect() as connection:
        assert connection.execute(text(statement.replace(":", r"\:"))).all() == []
        connection.execute(text("ALTER ROLE quanma_merchant CREATEROLE"))
        assert connection.execute(text(statement.replace(":", r"\:"))).all() != []
        connection.rollback()
    assert upgrade(database, SECRET_KEY)
    database.dispose()
