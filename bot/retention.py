"""Keeping no longer than promised: texts after 30 days, what is over and done with after a while."""

from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from core import nonces, outbox
from core.database import Role, rows_changed
from core.outbox import Task
from core.runtime import Runtime

FORGET: Final = "forget_old"
TEXTS_KEPT: Final = timedelta(days=30)
WINDOWS_KEPT: Final = timedelta(days=40)
NOTICES_KEPT: Final = timedelta(days=90)
LINKS_KEPT: Final = timedelta(days=1)
CHOICES_KEPT: Final = timedelta(days=10)
"""Long past the time in which a conversation still counts as one, with room for events that come late."""
QUESTIONS_KEPT: Final = timedelta(days=1)
LISTS_KEPT: Final = timedelta(days=7)
READS_KEPT: Final = timedelta(days=400)
ROWS_AT_ONCE: Final = 5_000
"""Rows of one transaction: few enough that nobody waits behind it."""

# Each is repeated until it finds nothing more.
_RULES: Final = {
    "texts": """
        UPDATE inbox_event e SET body = NULL, reply = NULL
        FROM (SELECT id, month FROM inbox_event WHERE received_at < :texts AND body IS NOT NULL LIMIT :most) old
        WHERE e.id = old.id AND e.month = old.month""",
    "dead letters": """
        UPDATE dead_letter SET body = NULL
        WHERE id IN (SELECT id FROM dead_letter WHERE received_at < :texts AND body IS NOT NULL LIMIT :most)""",
    # Talks are held before their messages; one in use is left for the next time.
    "answers nobody came for": """
        WITH held AS MATERIALIZED (
            SELECT t.id FROM talk t
            WHERE t.id IN (SELECT m.talk_id FROM talk_message m
                           WHERE m.state = 'waiting' AND m.created_at < :texts LIMIT :most)
            ORDER BY t.id FOR UPDATE SKIP LOCKED)
        UPDATE talk_message SET state = 'skipped', why = 'too_late'
        WHERE talk_id IN (SELECT id FROM held) AND state = 'waiting' AND created_at < :texts""",
    "talks": """
        WITH old AS (SELECT id FROM talk_message WHERE created_at < :texts AND content IS NOT NULL LIMIT :most),
        grams AS (DELETE FROM talk_gram USING old WHERE talk_gram.message_id = old.id)
        UPDATE talk_message m SET content = NULL FROM old WHERE m.id = old.id""",
    "lines of talks": """
        UPDATE talk SET preview = NULL
        WHERE id IN (SELECT id FROM talk WHERE last_message_at < :texts AND preview IS NOT NULL
                     LIMIT :most FOR UPDATE SKIP LOCKED)""",
    "pictures and voices": """
        UPDATE talk_media SET state = 'gone', content = NULL, media_id = NULL, mime = ''
        WHERE message_id IN (SELECT message_id FROM talk_media
                             WHERE created_at < :texts AND state <> 'gone' LIMIT :most)""",
    "windows": """
        DELETE FROM message_window
        WHERE inbox_id IN (SELECT inbox_id FROM message_window WHERE expires_at < :windows LIMIT :most)""",
    "choices of whom to talk to": """
        DELETE FROM context_choice
        WHERE inbox_id IN (SELECT inbox_id FROM context_choice WHERE at < :choices LIMIT :most)""",
    "questions nobody answered": """
        DELETE FROM pending_question
        WHERE follower_id IN (SELECT follower_id FROM pending_question WHERE expires_at < :questions LIMIT :most)""",
    "sessions": """
        DELETE FROM login_session
        WHERE id IN (SELECT id FROM login_session WHERE expires_at < :now LIMIT :most)""",
    "owners' sessions": """
        DELETE FROM owner_session
        WHERE id IN (SELECT id FROM owner_session WHERE expires_at < :now LIMIT :most)""",
    "invitations": """
        DELETE FROM invitation
        WHERE id IN (SELECT id FROM invitation WHERE expires_at < :now LIMIT :most)""",
    "staff codes": """
        DELETE FROM staff_link
        WHERE id IN (SELECT id FROM staff_link WHERE expires_at < :links LIMIT :most)""",
    "sign-in steps": """
        DELETE FROM sign_in_step
        WHERE id IN (SELECT id FROM sign_in_step WHERE expires_at < :now LIMIT :most)""",
    "ended bindings": """
        DELETE FROM staff_identity
        WHERE id IN (SELECT id FROM staff_identity WHERE unbound_at < :windows LIMIT :most)""",
    "trials": """
        DELETE FROM code_trial
        WHERE id IN (SELECT id FROM code_trial WHERE expires_at < :windows LIMIT :most)""",
    "notices": """
        DELETE FROM staff_notice
        WHERE id IN (SELECT id FROM staff_notice WHERE created_at < :notices LIMIT :most)""",
    "lists nobody said go to": """
        DELETE FROM code_batch
        WHERE id IN (SELECT id FROM code_batch WHERE job_id IS NULL AND created_at < :lists LIMIT :most)""",
    "answered calls": """
        DELETE FROM answered_call
        WHERE (actor, route, nonce) IN (
            SELECT actor, route, nonce FROM answered_call WHERE at < :calls LIMIT :most)""",
    "shown codes": """
        DELETE FROM shown_code
        WHERE id IN (SELECT id FROM shown_code WHERE expires_at < :links LIMIT :most)""",
    "mistyped codes": """
        DELETE FROM code_try
        WHERE (staff_id, minute) IN (SELECT staff_id, minute FROM code_try WHERE minute < :links LIMIT :most)""",
    "where invited people came from": """
        UPDATE referral SET address_hash = NULL
        WHERE invitee_id IN (SELECT invitee_id FROM referral
                             WHERE at < :notices AND address_hash IS NOT NULL LIMIT :most)""",
    # That they were read stays counted.
    "who has read notices": """
        WITH old AS (SELECT notice_id, follower_id FROM notice_read WHERE at < :reads LIMIT :most),
        kept AS (
            UPDATE notice n SET forgotten_reads = forgotten_reads + old.readers
            FROM (SELECT notice_id, count(*) AS readers FROM old GROUP BY notice_id ORDER BY notice_id) old
            WHERE n.id = old.notice_id)
        DELETE FROM notice_read r USING old
        WHERE r.notice_id = old.notice_id AND r.follower_id = old.follower_id""",
    "the callback's minutes": """
        DELETE FROM callback_minute
        WHERE minute IN (SELECT minute FROM callback_minute WHERE minute < :texts LIMIT :most)""",
    "the callback's failures": """
        DELETE FROM callback_failure
        WHERE (minute, status, reason, detail) IN (
            SELECT minute, status, reason, detail FROM callback_failure WHERE minute < :texts LIMIT :most)""",
    # Their files go with them.
    "long jobs": """
        DELETE FROM long_job
        WHERE id IN (SELECT id FROM long_job WHERE expires_at < :now LIMIT :most)""",
}

log = structlog.get_logger(__name__)


def owe(session: Session, now: datetime) -> None:
    """Owe the day's forgetting."""
    outbox.add(session, kind=FORGET, dedupe_key=f"{FORGET}:{now:%Y-%m-%dT%H}", payload={})


def forget_old(runtime: Runtime, task: Task) -> None:  # noqa: ARG001
    """Apply every rule. May stop anywhere and be run again."""
    now = runtime.now()
    limits = {
        "now": now,
        "texts": now - TEXTS_KEPT,
        "windows": now - WINDOWS_KEPT,
        "links": now - LINKS_KEPT,
        "choices": now - CHOICES_KEPT,
        "questions": now - QUESTIONS_KEPT,
        "notices": now - NOTICES_KEPT,
        "lists": now - LISTS_KEPT,
        "calls": now - nonces.KEPT,
        "reads": now - READS_KEPT,
        "most": ROWS_AT_ONCE,
    }
    for name, rule in _RULES.items():
        total = 0
        while True:
            with runtime.transaction(Role.PLATFORM, statement_timeout_s=30) as session:
                changed = rows_changed(session.execute(text(rule), limits))
            total += changed
            if changed < ROWS_AT_ONCE:
                break
        if total:
            log.info("forgotten in time", what=name, rows=total)
    while True:
        with runtime.transaction(Role.PLATFORM, statement_timeout_s=30) as session:
            if outbox.forget_finished(session) < outbox.FORGET_AT_ONCE:
                break
