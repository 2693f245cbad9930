"""What is posted for somebody: to everybody, to their community, to their building; and whether they have read it.

Who said where they live is shown that place's notices. Who did not is shown what goes to everybody and to the
communities of shops they turned to. A notice is no secret: whoever has its link may open it while it is up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from community.notices.models import NoticeRead
from core.errors import NotFound, Phrase

PAID: Final = Phrase("推广")

IS_UP: Final = """
    n.state = 'published' AND n.shown_from <= :now AND (n.shown_until IS NULL OR n.shown_until > :now)"""
_IS_FOR_ME: Final = """(
    NOT EXISTS (SELECT 1 FROM notice_place p WHERE p.notice_id = n.id)
    OR EXISTS (
        SELECT 1 FROM notice_place p JOIN owner_home h ON h.community_id = p.community_id
        WHERE p.notice_id = n.id AND h.follower_id = :me
          AND (p.building_id IS NULL OR p.building_id = h.building_id))
    OR (NOT EXISTS (SELECT 1 FROM owner_home h WHERE h.follower_id = :me) AND EXISTS (
        SELECT 1 FROM notice_place p
        JOIN merchant m ON m.community_id = p.community_id AND m.state = 'active'
        JOIN fan ON fan.merchant_id = m.id AND fan.follower_id = :me AND fan.erased_at IS NULL
        WHERE p.notice_id = n.id AND p.building_id IS NULL)))"""
_COLUMNS: Final = """
    n.id, n.title, n.words, n.is_paid, n.is_pinned, n.shown_from, n.shown_until,
    (SELECT public_id FROM notice_picture q WHERE q.id = n.picture_id) AS picture,
    EXISTS (SELECT 1 FROM notice_read r WHERE r.notice_id = n.id AND r.follower_id = :me) AS is_read"""
_ORDER: Final = "ORDER BY n.is_pinned DESC, n.shown_from DESC, n.id DESC"
_LATEST: Final = f"""
    SELECT {_COLUMNS} FROM notice n
    WHERE {IS_UP} AND {_IS_FOR_ME} AND n.account_id = coalesce(CAST(:account AS bigint),
        (SELECT account_id FROM follower WHERE id = :me), n.account_id)
    {_ORDER} OFFSET :skip LIMIT :limit"""
_UNREAD: Final = f"""
    SELECT count(*) FROM notice n
    WHERE {IS_UP} AND {_IS_FOR_ME}
      AND n.account_id = coalesce((SELECT account_id FROM follower WHERE id = :me), n.account_id)
      AND NOT EXISTS (SELECT 1 FROM notice_read r WHERE r.notice_id = n.id AND r.follower_id = :me)"""
_ONE: Final = f"SELECT {_COLUMNS} FROM notice n WHERE n.id = :id AND {IS_UP}"
EXCERPT: Final = 40


@dataclass(frozen=True)
class Posted:
    """A notice that is up. `headline` says when it is paid for; whoever words it otherwise must, too."""

    id: int
    title: str
    words: str
    is_paid: bool
    is_pinned: bool
    shown_from: datetime
    shown_until: datetime | None
    picture: str | None
    """The public id of its picture."""
    is_read: bool

    @property
    def label(self) -> str:
        """推广, or nothing."""
        return PAID if self.is_paid else ""

    @property
    def headline(self) -> str:
        """The title behind its label."""
        return f"【{PAID}】{self.title}" if self.is_paid else self.title

    @property
    def path(self) -> str:
        """Its page for owners."""
        return f"/m/notices/{self.id}"

    @property
    def excerpt(self) -> str:
        """Its first words, on one line."""
        said = " ".join(self.words.split())
        return said if len(said) <= EXCERPT else said[: EXCERPT - 1] + "…"


def latest(
    session: Session,
    *,
    follower_id: int | None,
    now: datetime,
    limit: int,
    skip: int = 0,
    account_id: int | None = None,
) -> list[Posted]:
    """What is up for this person, or for everybody where it is nobody in particular: pinned first, then the newest."""
    asked = {"me": follower_id, "now": now, "limit": limit, "skip": skip, "account": account_id}
    return [Posted(*row) for row in session.execute(text(_LATEST), asked)]


def count_unread(session: Session, *, follower_id: int, now: datetime) -> int:
    """How many of them this person has not opened."""
    return int(session.execute(text(_UNREAD), {"me": follower_id, "now": now}).scalar_one())


def one(session: Session, *, notice_id: int, follower_id: int | None, now: datetime) -> Posted:
    """A notice while it is up; afterwards it is as missing as one that never was."""
    row = session.execute(text(_ONE), {"id": notice_id, "me": follower_id, "now": now}).one_or_none()
    if row is None:
        raise NotFound("没有找到这条公告，它可能已经过期或撤下了。")
    return Posted(*row)


def note_opened(session: Session, *, notice_id: int, follower_id: int, now: datetime) -> None:
    """Somebody has opened it; the first time counts."""
    seen = insert(NoticeRead).values(notice_id=notice_id, follower_id=follower_id, at=now)
    session.execute(seen.on_conflict_do_nothing())
