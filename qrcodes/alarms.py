"""What an operator should look at: codes that fell silent, and days unlike others.

Days are judged once, the morning after, and what was noticed is kept.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.clock import business_day
from qrcodes.counted import AlarmKind

SILENT_DAYS: Final = 3
LIVELY_DAYS: Final = 14
"""Of the four weeks before, so many days with scans make a code one whose silence means something."""
WEEKS: Final = 4
LEAST_USUAL: Final = 10.0
"""Scans a day below which more or fewer are chance."""
DROP: Final = 0.4
SPIKE: Final = 2.5
KEPT: Final = timedelta(days=366)

_SILENT: Final = """
    SELECT t.merchant_id, t.code_id, 0 AS scans,
           sum(t.scans)::float / 28 AS usual
    FROM daily_traffic t JOIN sub_qr_code c ON c.id = t.code_id AND c.merchant_id = t.merchant_id
    WHERE t.level = 'code' AND t.scans > 0 AND c.state = 'active'
      AND t.day BETWEEN CAST(:day AS date) - :silent - 27 AND CAST(:day AS date)
    GROUP BY t.merchant_id, t.code_id
    -- Told once: on the day that makes it so many.
    HAVING max(t.day) = CAST(:day AS date) - :silent AND count(*) >= :lively"""
_UNUSUAL: Final = """
    SELECT m.id, coalesce(today.scans, 0) AS scans, before.usual
    FROM (
        SELECT merchant_id, sum(scans)::float / :weeks AS usual FROM daily_traffic
        WHERE level = 'merchant' AND merchant_id <> 0
          AND day IN (SELECT CAST(:day AS date) - 7 * week FROM generate_series(1, :weeks) week)
        GROUP BY merchant_id HAVING sum(scans) >= :weeks * :least
    ) before
    JOIN merchant m ON m.id = before.merchant_id AND m.state = 'active'
    LEFT JOIN daily_traffic today ON today.level = 'merchant' AND today.day = :day AND today.merchant_id = m.id
    WHERE coalesce(today.scans, 0) < :drop * before.usual OR today.scans > :spike * before.usual"""


def judge_yesterday(session: Session, now: datetime) -> None:
    """Note what was unusual about the day that ended; doing it again notes the same."""
    judge(session, business_day(now) - timedelta(days=1))
    session.execute(text("DELETE FROM traffic_alarm WHERE day < :before"), {"before": (now - KEPT).date()})


def judge(session: Session, day: date) -> None:
    """Note what was unusual about one day, beside the same weekdays of the four weeks before."""
    given = {"day": day, "silent": SILENT_DAYS, "lively": LIVELY_DAYS, "weeks": WEEKS, "least": LEAST_USUAL,
             "drop": DROP, "spike": SPIKE}  # fmt: skip
    session.execute(text("DELETE FROM traffic_alarm WHERE day = :day"), given)
    session.execute(
        text(f"""
            INSERT INTO traffic_alarm (day, kind, merchant_id, code_id, scans, usual)
            SELECT :day, '{AlarmKind.SILENT}', * FROM ({_SILENT}) s ORDER BY usual DESC"""),
        given,
    )
    session.execute(
        text(f"""
            INSERT INTO traffic_alarm (day, kind, merchant_id, scans, usual)
            SELECT :day, CASE WHEN scans < usual THEN '{AlarmKind.DROP}' ELSE '{AlarmKind.SPIKE}' END, *
            FROM ({_UNUSUAL}) u ORDER BY abs(scans - usual) DESC"""),
        given,
    )


@dataclass(frozen=True)
class Alarm:
    """Something unusual about a day."""

    id: int
    day: date
    kind: AlarmKind
    merchant_id: int
    merchant_name: str
    code_id: int | None
    code_label: str | None
    scans: int
    usual: float


def page(session: Session, *, before: int | None = None, limit: int = 50) -> list[Alarm]:
    """What was noticed, newest first."""
    return _alarms(session, "(CAST(:before AS bigint) IS NULL OR t.id < :before)", before=before, limit=limit)


def of_day(session: Session, day: date, *, limit: int) -> tuple[list[Alarm], int]:
    """What was noticed about one day, the most telling first, and how much there is."""
    shown = _alarms(session, "t.day = :day", day=day, limit=limit, order="t.kind = 'spike', t.usual DESC, t.id")
    count = session.execute(text("SELECT count(*) FROM traffic_alarm WHERE day = :day"), {"day": day}).scalar_one()
    return shown, count


def _alarms(session: Session, which: str, *, order: str = "t.id DESC", **given: object) -> list[Alarm]:
    rows = session.execute(
        text(f"""
            SELECT t.id, t.day, t.kind, t.merchant_id, m.name, t.code_id, c.label, t.scans, t.usual
            FROM traffic_alarm t JOIN merchant m ON m.id = t.merchant_id LEFT JOIN sub_qr_code c ON c.id = t.code_id
            WHERE {which} ORDER BY {order} LIMIT :limit"""),
        given,
    )
    return [Alarm(row[0], row[1], AlarmKind(row[2]), *row[3:]) for row in rows]
