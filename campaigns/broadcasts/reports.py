"""What the platform tells of finished mass sends: which were none of ours, and what they cost everybody (BC-7)."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.database import rows_changed
from core.errors import NotFound, Phrase
from merchants.wording import clean

SETTLES: Final = timedelta(minutes=10)
"""How long our own call may take to learn its number: until then a report may still be ours."""
CALLED_WITHIN: Final = timedelta(days=1)
"""A report comes within a day of its call."""
ALIKE: Final = 0.1
"""By how much the size of a call whose answer was lost may differ from what the report says."""
NOTE_MAX: Final = 200


class Label(StrEnum):
    """Whom the operator says a foreign send was for."""

    EVERYBODY = "everybody"
    SOME = "some"
    NOT_COUNTED = "not_counted"


def foreign_reports(session: Session, now: datetime) -> None:
    """Say which reports are none of ours; until somebody labels it, one to half of the followers or more counts for
    everybody.

    One that may belong to a call of ours whose answer was lost is left alone, and one that turns out to be ours
    counts for nobody but its recipients.
    """
    session.execute(
        text("""
            UPDATE mass_report r SET is_foreign = false, counts_for_everybody = false
            WHERE r.is_foreign AND r.label IS NULL AND EXISTS (SELECT 1 FROM send_batch b WHERE b.msg_id = r.msg_id)""")
    )
    session.execute(
        text("""
            UPDATE mass_report r
            SET is_foreign = true,
                counts_for_everybody = r.total > 0
                    AND r.total * 2::bigint >= (SELECT count(*) FROM follower WHERE status = 'following')
            WHERE NOT r.is_foreign AND r.reported_at < :settled
              AND NOT EXISTS (SELECT 1 FROM send_batch b WHERE b.msg_id = r.msg_id)
              AND NOT EXISTS (
                  SELECT 1 FROM send_batch b
                  WHERE b.state IN ('calling', 'unknown') AND b.msg_id IS NULL
                    AND b.called_at BETWEEN r.reported_at - :within AND r.reported_at + :settles
                    AND abs(b.size - r.total) <= greatest(2, b.size * :alike))"""),
        {"settled": now - SETTLES, "within": CALLED_WITHIN, "settles": SETTLES, "alike": ALIKE},
    )


def label(session: Session, msg_id: int, label: Label, *, operator_id: int, now: datetime, note: str = "") -> None:
    """What the operator says a foreign send was; it may be said anew. Raises `NotFound` for any other report."""
    labelled = text("""
        UPDATE mass_report
        SET label = :label, counts_for_everybody = :label = 'everybody', note = :note, labelled_by = :operator_id,
            labelled_at = :now
        WHERE msg_id = :msg_id AND is_foreign""")
    given = {
        "label": label,
        "note": clean(note, name=Phrase("备注"), field="note", longest=NOTE_MAX),
        "operator_id": operator_id,
        "now": now,
        "msg_id": msg_id,
    }
    if not rows_changed(session.execute(labelled, given)):
        raise NotFound("没有这条群发记录。")
