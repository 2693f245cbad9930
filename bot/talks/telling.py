"""A merchant's people learn that somebody waits, with the page closed: once for each time somebody begins to wait, and
nothing of what was said. How they are told, and who has switched it off, is `merchants.notices`'s to know."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from bot.talks import desk
from core.database import rows_changed
from merchants import notices
from merchants.models import NoticeKind
from merchants.notices import News

AT_ONCE: Final = 200
CAUSE: Final = "enquiry"
STALE: Final = timedelta(days=2)
"""What has waited for longer is not news: it can be answered at the next visit only."""

# What comes in late after an answer has waited since before it: whoever was told then does not know of it.
_WAITING_AT: Final = """
    FROM enquiry e
    JOIN talk t ON t.merchant_id = e.merchant_id AND t.id = e.talk_id AND t.state = 'waiting'
    JOIN merchant m ON m.id = e.merchant_id AND m.state = 'active'
    LEFT JOIN talk_desk d ON d.merchant_id = e.merchant_id
    WHERE e.closed_at IS NULL AND (e.told_at IS NULL OR e.told_at < greatest(t.waiting_since, t.human_said_at))
      AND t.waiting_since <= :now - coalesce(d.notify_after, :notify_after) * interval '1 minute'
      AND t.waiting_since > :stale"""


def tell_of_waiting(session: Session, now: datetime) -> None:
    """Tell of everybody who has waited for as long as their merchant said; outside its hours once they begin.

    Desks that are closed now are left out before the oldest are taken, so that a night's questions to one shop hide
    nobody's to another.
    """
    given = {"now": now, "notify_after": desk.PLAIN.notify_after, "stale": now - STALE}
    shops = session.execute(text(f"SELECT DISTINCT e.merchant_id {_WAITING_AT}"), given).scalars().all()
    desks = desk.load(session, shops)
    receiving = [shop for shop in shops if desks.get(shop, desk.PLAIN).hours.is_open(now)]
    waiting = session.execute(
        text(f"""
            SELECT e.id, e.merchant_id, e.talk_id, greatest(t.waiting_since, t.human_said_at) AS since, t.number
            {_WAITING_AT}
              AND e.merchant_id = ANY(:receiving)
            ORDER BY t.waiting_since, e.id LIMIT :most"""),
        {**given, "receiving": receiving, "most": AT_ONCE},
    ).all()
    for row in waiting:
        if _claim(session, row.id, row.since, now):
            news = News(
                NoticeKind.TALK_WAITS,
                cause=f"{CAUSE}:{row.id}:{row.since:%Y%m%dT%H%M%S}",
                path=f"/merchant/talks/{row.talk_id}",
                subject=row.number,
            )
            notices.tell(session, merchant_id=row.merchant_id, news=news, now=now)


def _claim(session: Session, enquiry_id: int, since: datetime, now: datetime) -> bool:
    told = session.execute(
        text("""
            UPDATE enquiry SET told_at = :now
            WHERE id = :id AND closed_at IS NULL AND (told_at IS NULL OR told_at < :since)"""),
        {"id": enquiry_id, "now": now, "since": since},
    )
    return bool(rows_changed(told))
