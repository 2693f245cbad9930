"""Canned replies: words that a merchant's people say often, in the order in which they are offered."""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from bot.talks.models import CannedReply
from core.errors import Invalid, NotFound, Phrase
from merchants import sensitive_words
from merchants.wording import clean, refuse_bad_wording

TITLE_MAX: Final = 20
TEXT_MAX: Final = 600
MOST: Final = 100


def listed(session: Session, *, merchant_id: int) -> list[CannedReply]:
    """A merchant's, in order."""
    mine = select(CannedReply).where(CannedReply.merchant_id == merchant_id)
    return list(session.scalars(mine.order_by(CannedReply.position, CannedReply.id)))


def find(session: Session, *, merchant_id: int, reply_id: int) -> CannedReply:
    """One of them; another merchant's is missing (TN-3)."""
    mine = select(CannedReply).where(CannedReply.merchant_id == merchant_id, CannedReply.id == reply_id)
    found: CannedReply | None = session.scalar(mine)
    if found is None:
        raise NotFound("没有这条常用语。")
    return found


def add(session: Session, *, merchant_id: int, title: str, words: str, hosts: frozenset[str]) -> int:
    """One more, at the end; returns its id."""
    known = listed(session, merchant_id=merchant_id)
    if len(known) >= MOST:
        raise Invalid("常用语最多 %(most)s 条，不用的可以删掉。", field="title", most=MOST)
    values = _checked(session, merchant_id=merchant_id, reply_id=None, title=title, words=words, hosts=hosts)
    last = max((one.position for one in known), default=0)
    new = insert(CannedReply).values(merchant_id=merchant_id, position=last + 1, **values)
    return int(session.execute(new.returning(CannedReply.id)).scalar_one())


def edit(session: Session, *, merchant_id: int, reply_id: int, title: str, words: str, hosts: frozenset[str]) -> None:
    """Other words under the same name, or another name."""
    find(session, merchant_id=merchant_id, reply_id=reply_id)
    values = _checked(session, merchant_id=merchant_id, reply_id=reply_id, title=title, words=words, hosts=hosts)
    session.execute(update(CannedReply).where(CannedReply.id == reply_id).values(values))


def move(session: Session, *, merchant_id: int, reply_id: int, is_up: bool) -> None:
    """One place up or down; at the end of the way it stays."""
    find(session, merchant_id=merchant_id, reply_id=reply_id)
    ids = [one.id for one in listed(session, merchant_id=merchant_id)]
    place = ids.index(reply_id)
    other = place - 1 if is_up else place + 1
    if 0 <= other < len(ids):
        ids[place], ids[other] = ids[other], ids[place]
    for position, one in enumerate(ids, start=1):
        session.execute(update(CannedReply).where(CannedReply.id == one).values(position=position))


def remove(session: Session, *, merchant_id: int, reply_id: int) -> None:
    """It is not offered any more; what was said with it stays said."""
    find(session, merchant_id=merchant_id, reply_id=reply_id)
    session.execute(delete(CannedReply).where(CannedReply.id == reply_id))


def _checked(
    session: Session, *, merchant_id: int, reply_id: int | None, title: str, words: str, hosts: frozenset[str]
) -> dict[str, str]:
    """What is said with it is looked at when it is said, too; here it saves its author the surprise."""
    name = clean(title, name=Phrase("名字"), field="title", longest=TITLE_MAX, is_required=True)
    said = clean(words, name=Phrase("文字"), field="text", longest=TEXT_MAX, is_required=True, lines=True)
    refuse_bad_wording(said, field="text", hosts=hosts, listed=sensitive_words.listed(session))
    others = select(func.count()).where(
        CannedReply.merchant_id == merchant_id, CannedReply.title == name, CannedReply.id != (reply_id or 0)
    )
    if session.execute(others).scalar_one():
        raise Invalid("已经有一条叫“%(title)s”，换个名字。", field="title", title=name)
    return {"title": name, "text": said}
