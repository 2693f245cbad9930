"""Everything that is stored about a person, for the person: the copy that PIPL art. 45 gives them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import text

from core.database import Role
from core.runtime import Runtime

AT_ONCE: Final = 200
TAKES_S: Final = 60

# What is told of each, oldest first. Of others who have to do with it (who invited whom, which staff) nothing is named.
_SHOP: Final = "(SELECT name FROM merchant m WHERE m.id = t.merchant_id) AS shop"
_STORED: Final[dict[str, str]] = {
    "me": "SELECT openid, status, first_seen_at, last_seen_at FROM follower t WHERE id = :me",
    "birthday": "SELECT birth_month, birth_day, consented_at FROM owner_profile t WHERE follower_id = :me",
    "home": """
        SELECT (SELECT name FROM community c WHERE c.id = t.community_id) AS community,
               (SELECT name FROM building b WHERE b.id = t.building_id) AS building, chosen_at
        FROM owner_home t WHERE follower_id = :me""",
    "notices_opened": """
        SELECT (SELECT title FROM notice n WHERE n.id = t.notice_id) AS notice, at FROM notice_read t
        WHERE follower_id = :me ORDER BY at""",
    "signed_in_browsers": """
        SELECT created_at, last_seen_at, expires_at FROM owner_session t WHERE follower_id = :me ORDER BY id""",
    "follows": "SELECT started_at, ended_at, source FROM follow_episode t WHERE follower_id = :me ORDER BY id",
    "credited_to": f"""
        SELECT {_SHOP}, kind, followed_at FROM attribution t WHERE follower_id = :me ORDER BY id""",
    "scans": f"SELECT {_SHOP}, scanned_at, led_to_follow FROM scan t WHERE follower_id = :me ORDER BY id",
    "shops": f"""
        SELECT {_SHOP}, number, first_touch_at, last_touch_at, note, muted_at FROM fan t
        WHERE follower_id = :me ORDER BY first_touch_at""",
    "shops_tags": f"SELECT {_SHOP}, tag FROM fan_tag t WHERE follower_id = :me ORDER BY merchant_id, tag",
    "chat": "SELECT kind, event_at, body, reply FROM inbox_event t WHERE follower_id = :me ORDER BY id",
    "conversations": f"""
        SELECT {_SHOP}, t.direction, t.kind, t.content, t.at,
               (SELECT d.state FROM talk_media d WHERE d.message_id = t.id) AS file
        FROM talk JOIN talk_message t ON t.merchant_id = talk.merchant_id AND t.talk_id = talk.id
        WHERE talk.follower_id = :me ORDER BY t.id""",
    "how_answers_were": f"""
        SELECT {_SHOP}, t.opened_at, t.closed_at, t.asked_at, t.satisfaction, t.rated_at
        FROM talk JOIN enquiry t ON t.merchant_id = talk.merchant_id AND t.talk_id = talk.id
        WHERE talk.follower_id = :me ORDER BY t.id""",
    "talked_to": f"SELECT {_SHOP}, at, by FROM context_choice t WHERE follower_id = :me ORDER BY inbox_id",
    "asked_whom_they_mean": "SELECT kind, options, asked_at FROM pending_question t WHERE follower_id = :me",
    "wants_no_news_since": "SELECT at FROM opt_out t WHERE follower_id = :me",
    "news_sent": f"""
        SELECT {_SHOP}, state, settled_at FROM broadcast_recipient t WHERE follower_id = :me ORDER BY broadcast_id""",
    "coupons": f"""
        SELECT {_SHOP}, (SELECT name FROM coupon_template c WHERE c.id = t.template_id) AS coupon, channel, state,
               given_at, valid_from, valid_to, uses, uses_left, ended_at
        FROM coupon t WHERE follower_id = :me ORDER BY id""",
    "coupons_passed_on": """
        SELECT created_at, expires_at, taken_at, cancelled_at FROM coupon_gift t WHERE follower_id = :me ORDER BY id""",
    "redemptions": f"""
        SELECT {_SHOP}, bill_fen, discount_fen, redeemed_at, reversed_at FROM redemption t
        WHERE follower_id = :me ORDER BY id""",
    "visits": f"SELECT {_SHOP}, bill_fen, at, reversed_at FROM visit t WHERE follower_id = :me ORDER BY id",
    "points": f"SELECT {_SHOP}, kind, balance, debt FROM points_account t WHERE follower_id = :me ORDER BY id",
    "points_history": f"""
        SELECT {_SHOP}, kind, points, source_type, at, vests_at FROM points_transfer t
        WHERE follower_id = :me ORDER BY id""",
    "invitation_cards": f"""
        SELECT {_SHOP}, created_at, expires_at FROM invite t WHERE follower_id = :me ORDER BY id""",
    "came_by_invitation": f"SELECT {_SHOP}, came_by, at FROM referral t WHERE invitee_id = :me",
    "brought": f"SELECT {_SHOP}, at FROM referral t WHERE inviter_id = :me ORDER BY at",
    "invitation_rewards": f"""
        SELECT {_SHOP}, level, state, at FROM referral_reward t WHERE beneficiary_id = :me ORDER BY id""",
}


def written(runtime: Runtime, me: int) -> Iterator[str]:
    """All of it as JSON, written while it is read; as the person, who sees nobody else's rows."""
    with runtime.transaction(Role.FAN, follower_id=me, statement_timeout_s=TAKES_S) as session:
        yield "{"
        for position, (name, query) in enumerate(_STORED.items()):
            yield f"{',' if position else ''}\n{json.dumps(name)}: ["
            rows = session.execute(text(query), {"me": me}).mappings().yield_per(AT_ONCE)
            for number, row in enumerate(rows):
                yield f"{',' if number else ''}\n  {json.dumps(dict(row), ensure_ascii=False, default=_plain)}"
            yield "]"
        yield "\n}\n"


def _plain(value: Any) -> str:
    return str(value.isoformat())
