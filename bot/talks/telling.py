"""A merchant's people learn that somebody waits, with the page closed: once for each enquiry, and nothing of what was
said. How they are told, and who has switched it off, is `merchants.notices`'s to know."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from bot.talks import desk
from merchants import notices
from merchants.models import NoticeKind
from merchants.notices import News

AT_ONCE: Final = 1_000
CAUSE: Final = "enquiry"
STALE: Final = timedelta(days=2)
"""What has waited for longer is not news: the talk ends by itself."""


def tell_of_waiting(session: Session, now: datetime) -> None:
    """Tell of everybody who has waited for as long as their merchant said; outside its hours once they begin."""
    waiting = session.execute(
        text("""
            SELECT e.id, e.merchant_id, e.talk_id, e.opened_at, t.number
            FROM enquiry e
            JOIN talk t ON t.merchant_id = e.merchant_id AND t.id = e.talk_id AND t.state = 'waiting'
            JOIN merchant m ON m.id = e.merchant_id AND m.state = 'active'
            LEFT JOIN talk_desk d ON d.merchant_id = e.merchant_id
            WHERE e.closed_at IS NULL AND e.first_answer_at IS NULL AND e.told_at IS NULL
              AND e.opened_at <= :now - coalesce(d.notify_after, :notify_after) * interval '1 minute'
            ORDER BY e.opened_at, e.id LIMIT :most FOR UPDATE OF e SKIP LOCKED"""),
        {"now": now, "most": AT_ONCE, "notify_after": desk.PLAIN.notify_after},
    ).all()
    desks = desk.load(session, {row.merchant_id for row in waiting})
    told = []
    for row in waiting:
        if not desks.get(row.merchant_id, desk.PLAIN).hours.is_open(now):
            continue
        if now - row.opened_at < STALE:
            news = News(
                NoticeKind.TALK_WAITS,
                cause=f"{CAUSE}:{row.id}",
                path=f"/merchant/talks/{row.talk_id}",
                subject=row.number,
            )
            notices.tell(session, merchant_id=row.merchant_id, news=news, now=now)
        told.append(row.id)
    if told:
        session.execute(text("UPDATE enquiry SET told_at = :now WHERE id = ANY(:ids)"), {"now": now, "ids": told})
