"""What the inbox writes, gathered as rows while a batch is decided and written in one round trip, one statement per
kind of row. What it reads is in `bot/store.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bot.store import Driver, as_json
from bot.talks import intake

_CHANGE_EPISODES = """
    UPDATE follow_episode e SET ended_at = r.ended_at, source = r.source, scene = r.scene,
        attribution_id = r.attribution_id, voided_at = CASE WHEN r.is_void THEN app_now() END
    FROM jsonb_to_recordset(%(rows)s) AS r(id bigint, ended_at timestamptz, source text, scene text,
        attribution_id bigint, is_void boolean)
    WHERE e.id = r.id"""

_WISHED = """
    wished AS (
        UPDATE follower f SET wished_at = r.at
        FROM jsonb_to_recordset(%(rows)s) AS r(id bigint, at timestamptz, is_late boolean)
        WHERE f.id = r.id AND NOT (r.is_late AND coalesce(f.wished_at > r.at, false))
        RETURNING f.id, f.wished_at)"""

_WRITES: dict[str, str] = {
    "inbox": """
        INSERT INTO inbox_event (id, month, account_id, dedupe_key, source, kind, event_at, follower_id, scene, body,
            reply, answered_by, rule_id, merchant_id)
        SELECT id, month, account_id, dedupe_key, source, kind, event_at, follower_id, scene, body, reply,
            answered_by, rule_id, merchant_id
        FROM jsonb_to_recordset(%(rows)s) AS r(id bigint, month date, account_id smallint, dedupe_key text, source text,
            kind text, event_at timestamptz, follower_id bigint, scene text, body jsonb, reply jsonb, answered_by text,
            rule_id bigint, merchant_id bigint)""",
    "followers": """
        UPDATE follower f SET openid = r.openid, status = r.status, state_as_of = r.as_of,
            erase_due_at = r.erase_due_at, erased_at = r.erased_at, first_seen_at = least(f.first_seen_at, r.seen_at),
            last_seen_at = greatest(f.last_seen_at, r.seen_at)
        FROM jsonb_to_recordset(%(rows)s) AS r(id bigint, openid text, status text, as_of timestamptz,
            erase_due_at timestamptz, erased_at timestamptz, seen_at timestamptz)
        -- The list keeps the plan at the rows it is about, however few the table holds yet.
        WHERE f.id = r.id AND f.id = ANY(%(ids)s)""",
    "seen": """
        UPDATE follower f SET first_seen_at = least(f.first_seen_at, r.seen_at)
        FROM jsonb_to_recordset(%(rows)s) AS r(id bigint, seen_at timestamptz) WHERE f.id = r.id""",
    # A row that opens must not meet one that is still to be closed, and an UPDATE takes its rows in any order.
    "ended_episodes": _CHANGE_EPISODES,
    "changed_episodes": _CHANGE_EPISODES,
    "new_episodes": """
        INSERT INTO follow_episode (id, follower_id, started_at, ended_at, source, scene, attribution_id)
        SELECT id, follower_id, started_at, ended_at, source, scene, attribution_id
        FROM jsonb_to_recordset(%(rows)s) AS r(id bigint, follower_id bigint, started_at timestamptz,
            ended_at timestamptz, source text, scene text, attribution_id bigint)""",
    "attributions": """
        INSERT INTO attribution (id, episode_id, follower_id, merchant_id, code_id, kind, followed_at, rule,
            rule_version, source, supersedes)
        SELECT id, episode_id, follower_id, merchant_id, code_id, kind, followed_at, rule, rule_version, source,
            supersedes
        FROM jsonb_to_recordset(%(rows)s) AS r(id bigint, episode_id bigint, follower_id bigint, merchant_id bigint,
            code_id bigint, kind text, followed_at timestamptz, rule text, rule_version smallint, source text,
            supersedes bigint)
        ORDER BY id""",
    "scans": """
        INSERT INTO scan (month, inbox_id, follower_id, code_id, merchant_id, scene, scanned_at, led_to_follow, suspect,
            by_staff, is_test)
        SELECT month, inbox_id, follower_id, code_id, merchant_id, scene, scanned_at, led_to_follow, suspect,
            by_staff, is_test
        FROM jsonb_to_recordset(%(rows)s) AS r(month date, inbox_id bigint, follower_id bigint, code_id bigint,
            merchant_id bigint, scene text, scanned_at timestamptz, led_to_follow boolean, suspect boolean,
            by_staff boolean, is_test boolean)""",
    "used_trials": """
        UPDATE code_trial t SET used_at = r.used_at
        FROM jsonb_to_recordset(%(rows)s) AS r(id bigint, used_at timestamptz) WHERE t.id = r.id""",
    "links": """
        UPDATE staff_link l SET state = r.state, follower_id = r.follower_id, scanned_at = r.scanned_at
        FROM jsonb_to_recordset(%(rows)s) AS r(id bigint, state text, follower_id bigint, scanned_at timestamptz)
        WHERE l.id = r.id""",
    # Of two touches in one second the smaller code id counts as the earlier one, so that the order of arrival
    # cannot matter.
    "fans": """
        INSERT INTO fan (merchant_id, follower_id, number, first_touch_at, first_code_id, last_touch_at, last_code_id,
            erased_at)
        SELECT merchant_id, follower_id, number, at, code_id, at, code_id, erased_at
        FROM jsonb_to_recordset(%(rows)s) AS r(merchant_id bigint, follower_id bigint, number text, at timestamptz,
            code_id bigint, erased_at timestamptz)
        ORDER BY merchant_id, follower_id
        ON CONFLICT (merchant_id, follower_id) DO UPDATE SET
            first_touch_at = least(fan.first_touch_at, excluded.first_touch_at),
            first_code_id = CASE WHEN (excluded.first_touch_at, excluded.first_code_id)
                < (fan.first_touch_at, fan.first_code_id) THEN excluded.first_code_id ELSE fan.first_code_id END,
            last_touch_at = greatest(fan.last_touch_at, excluded.last_touch_at),
            last_code_id = CASE WHEN (excluded.last_touch_at, excluded.last_code_id)
                > (fan.last_touch_at, fan.last_code_id) THEN excluded.last_code_id ELSE fan.last_code_id END,
            erased_at = CASE WHEN excluded.erased_at IS NULL AND excluded.last_touch_at >= fan.erased_at THEN NULL
                ELSE fan.erased_at END""",
    "returned_fans": """
        UPDATE fan SET erased_at = NULL
        FROM jsonb_to_recordset(%(rows)s) AS r(merchant_id bigint, follower_id bigint)
        WHERE fan.merchant_id = r.merchant_id AND fan.follower_id = r.follower_id AND fan.erased_at IS NOT NULL""",
    "windows": """
        INSERT INTO message_window (inbox_id, follower_id, merchant_id, trigger, opened_at, expires_at, allowance,
            wants_offers)
        SELECT inbox_id, follower_id, merchant_id, trigger, opened_at, expires_at, allowance, wants_offers
        FROM jsonb_to_recordset(%(rows)s) AS r(inbox_id bigint, follower_id bigint, merchant_id bigint, trigger text,
            opened_at timestamptz, expires_at timestamptz, allowance smallint, wants_offers boolean)""",
    # A wish that comes late gives way to what was said after it.
    "mutes": """
        UPDATE fan SET muted_at = CASE WHEN r.is_muted THEN coalesce(fan.muted_at, r.at) END, wished_at = r.at
        FROM jsonb_to_recordset(%(rows)s) AS r(merchant_id bigint, follower_id bigint, at timestamptz,
            is_muted boolean, is_late boolean)
        WHERE fan.merchant_id = r.merchant_id AND fan.follower_id = r.follower_id
          AND NOT (r.is_late AND coalesce(fan.wished_at > r.at, false))""",
    "opt_outs": f"""
        WITH {_WISHED}
        INSERT INTO opt_out (follower_id, at) SELECT id, wished_at FROM wished ON CONFLICT (follower_id) DO NOTHING""",
    "opt_ins": f"WITH {_WISHED} DELETE FROM opt_out USING wished WHERE opt_out.follower_id = wished.id",
    # What is told again, or told twice by two events, is known from the first time.
    "mass_reports": """
        INSERT INTO mass_report (msg_id, account_id, reported_at, status, total, filtered, sent, errors)
        SELECT msg_id, account_id, reported_at, status, total, filtered, sent, errors
        FROM jsonb_to_recordset(%(rows)s) AS r(msg_id bigint, account_id smallint, reported_at timestamptz, status text,
            total integer, filtered integer, sent integer, errors integer)
        ON CONFLICT (msg_id) DO NOTHING""",
    "follow_ups": """
        INSERT INTO follow_up (inbox_id, follower_id, welcome_id, rule_id, position)
        SELECT inbox_id, follower_id, welcome_id, rule_id, position
        FROM jsonb_to_recordset(%(rows)s) AS r(inbox_id bigint, follower_id bigint, welcome_id bigint, rule_id bigint,
            position smallint)""",
    "choices": """
        INSERT INTO context_choice (inbox_id, follower_id, merchant_id, at, by)
        SELECT inbox_id, follower_id, merchant_id, at, by
        FROM jsonb_to_recordset(%(rows)s) AS r(inbox_id bigint, follower_id bigint, merchant_id bigint, at timestamptz,
            by text)""",
    "settled_questions": "DELETE FROM pending_question WHERE follower_id = ANY(%(ids)s)",
    "questions": """
        INSERT INTO pending_question (follower_id, kind, asked_at, expires_at, options, inbox_ids, enquiry_id)
        SELECT follower_id, kind, asked_at, expires_at, options,
            ARRAY(SELECT value::bigint FROM jsonb_array_elements_text(inbox_ids)), enquiry_id
        FROM jsonb_to_recordset(%(rows)s) AS r(follower_id bigint, kind text, asked_at timestamptz,
            expires_at timestamptz, options jsonb, inbox_ids jsonb, enquiry_id bigint)
        ON CONFLICT (follower_id) DO UPDATE SET kind = excluded.kind, asked_at = excluded.asked_at,
            expires_at = excluded.expires_at, options = excluded.options, inbox_ids = excluded.inbox_ids,
            enquiry_id = excluded.enquiry_id""",
    **intake.WRITES,
}
"""In the order in which they must run: an open episode is closed before the next one opens."""

Changes = dict[str, list[dict[str, Any]]]
"""What a batch writes: rows by the name of their statement."""


def no_changes() -> Changes:
    return {name: [] for name in _WRITES}


def write_replies(connection: Driver, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put replies to events of this batch, worded once its rows were written; each as (id, month, reply)."""
    connection.execute(
        """
        UPDATE inbox_event i SET reply = r.reply
        FROM jsonb_to_recordset(%(rows)s) AS r(id bigint, month date, reply jsonb)
        WHERE i.id = r.id AND i.month = r.month""",
        {"rows": as_json(rows)},
    )


def write_changes(connection: Driver, changes: Changes) -> None:
    """Write a batch's rows, one statement per kind of row that has any, in one round trip."""
    with connection.pipeline():
        for name, statement in _WRITES.items():
            if changes[name]:
                rows = changes[name]
                connection.execute(statement, {"rows": as_json(rows), "ids": [row.get("id") for row in rows]})
