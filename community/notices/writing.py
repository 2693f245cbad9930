"""The operator's hand on notices: written, put up, taken down, put up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from community.notices.models import Building, Notice, NoticePicture, NoticePlace, NoticeState
from core.database import rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from merchants import pictures, sensitive_words
from merchants.models import Community
from merchants.pictures import Prepared
from merchants.wording import clean, refuse_bad_wording

TITLE_MAX: Final = 40
WORDS_MAX: Final = 2_000
MOST_PLACES: Final = 200
LONGEST_PAID: Final = timedelta(days=370)


class IsUp(BusinessError):
    code = "notice_is_up"
    message = "这条公告正贴着，先撤下再改，免得有人看到的和别人不一样。"


class AlreadySo(BusinessError):
    code = "notice_already_so"
    message = "这条公告已经处理过，请刷新页面。"


class IsOver(BusinessError):
    code = "notice_is_over"
    message = "结束时间已经过了，贴出去也没人看得到。请先改结束时间。"


@dataclass(frozen=True)
class Place:
    """A community, or one building of it."""

    community_id: int
    building_id: int | None = None


@dataclass(frozen=True)
class Draft:
    """A notice as it is written down."""

    title: str
    words: str
    shown_from: datetime
    shown_until: datetime | None = None
    is_pinned: bool = False
    is_paid: bool = False
    places: tuple[Place, ...] = ()
    """Whom it is for; nobody in particular means everybody."""
    picture_id: int | None = None


def create(
    session: Session, *, account_id: int, draft: Draft, operator_id: int, hosts: frozenset[str], now: datetime
) -> int:
    """A draft that nobody sees yet."""
    values = _checked(session, account_id=account_id, draft=draft, hosts=hosts)
    new = insert(Notice).values(account_id=account_id, created_by=operator_id, created_at=now, changed_at=now, **values)
    notice_id = int(session.execute(new.returning(Notice.id)).scalar_one())
    _place(session, account_id, notice_id, draft.places)
    return notice_id


def edit(
    session: Session, *, account_id: int, notice_id: int, draft: Draft, hosts: frozenset[str], now: datetime
) -> None:
    """Reword a draft, or what was taken down. What is up keeps its words (`IsUp`)."""
    values = _checked(session, account_id=account_id, draft=draft, hosts=hosts)
    mine = update(Notice).where(
        Notice.id == notice_id, Notice.account_id == account_id, Notice.state != NoticeState.PUBLISHED
    )
    if not rows_changed(session.execute(mine.values(changed_at=now, **values))):
        one(session, account_id=account_id, notice_id=notice_id)
        raise IsUp
    session.execute(delete(NoticePlace).where(NoticePlace.notice_id == notice_id))
    _place(session, account_id, notice_id, draft.places)


def publish(session: Session, *, account_id: int, notice_id: int, operator_id: int, now: datetime) -> None:
    """Put it up, or up again."""
    found = one(session, account_id=account_id, notice_id=notice_id)
    if found.shown_until is not None and found.shown_until <= now:
        raise IsOver
    changed = (
        update(Notice)
        .where(Notice.id == notice_id, Notice.account_id == account_id, Notice.state != NoticeState.PUBLISHED)
        .values(
            state=NoticeState.PUBLISHED,
            published_by=operator_id,
            published_at=func.coalesce(Notice.published_at, now),
            withdrawn_at=None,
        )
    )
    if not rows_changed(session.execute(changed)):
        raise AlreadySo


def withdraw(session: Session, *, account_id: int, notice_id: int, now: datetime) -> None:
    """Take it down at once; `publish` is the way back."""
    changed = (
        update(Notice)
        .where(Notice.id == notice_id, Notice.account_id == account_id, Notice.state == NoticeState.PUBLISHED)
        .values(state=NoticeState.WITHDRAWN, withdrawn_at=now)
    )
    if not rows_changed(session.execute(changed)):
        one(session, account_id=account_id, notice_id=notice_id)
        raise AlreadySo


def pin(session: Session, *, account_id: int, notice_id: int, is_pinned: bool) -> None:
    """Above the others, or no more; its words stay as they are."""
    mine = update(Notice).where(Notice.id == notice_id, Notice.account_id == account_id)
    if not rows_changed(session.execute(mine.values(is_pinned=is_pinned))):
        raise NotFound("没有这条公告。")


def throw_away(session: Session, *, account_id: int, notice_id: int) -> None:
    """Only what was never up goes."""
    mine = delete(Notice).where(
        Notice.id == notice_id, Notice.account_id == account_id, Notice.state == NoticeState.DRAFT
    )
    if not rows_changed(session.execute(mine)):
        one(session, account_id=account_id, notice_id=notice_id)
        raise AlreadySo


def one(session: Session, *, account_id: int, notice_id: int) -> Notice:
    """A notice of the account, in whatever state."""
    found = session.scalar(select(Notice).where(Notice.id == notice_id, Notice.account_id == account_id))
    if found is None:
        raise NotFound("没有这条公告。")
    return found


def places_of(session: Session, *, notice_id: int) -> list[Place]:
    """Whom it is for; empty for everybody."""
    rows = select(NoticePlace.community_id, NoticePlace.building_id).where(NoticePlace.notice_id == notice_id)
    return [Place(*row) for row in session.execute(rows.order_by(NoticePlace.community_id, NoticePlace.building_id))]


def listed(
    session: Session,
    *,
    account_id: int,
    state: NoticeState | None = None,
    search: str = "",
    before: int | None = None,
    limit: int = 50,
) -> list[Notice]:
    """Notices, the newest first."""
    statement = select(Notice).where(Notice.account_id == account_id).order_by(Notice.id.desc()).limit(limit)
    if state is not None:
        statement = statement.where(Notice.state == state)
    if wanted := search.strip():
        statement = statement.where(
            Notice.title.icontains(wanted, autoescape=True) | Notice.words.icontains(wanted, autoescape=True)
        )
    if before is not None:
        statement = statement.where(Notice.id < before)
    return list(session.scalars(statement))


def keep_picture(session: Session, *, account_id: int, picture: Prepared, public_id: str) -> int:
    """Keep an upload that was drawn anew; the same one again is the same row."""
    new = upsert(NoticePicture).values(
        account_id=account_id,
        public_id=public_id,
        content=picture.content,
        mime=pictures.MIME,
        sha256=picture.sha256,
        width=picture.width,
        height=picture.height,
    )
    session.execute(new.on_conflict_do_nothing(index_elements=["account_id", "sha256"]))
    same = select(NoticePicture.id).filter_by(account_id=account_id, sha256=picture.sha256)
    return int(session.execute(same).scalar_one())


def picture_of(session: Session, *, public_id: str) -> NoticePicture | None:
    """A picture that the session may see."""
    return session.scalar(select(NoticePicture).where(NoticePicture.public_id == public_id))


def _checked(session: Session, *, account_id: int, draft: Draft, hosts: frozenset[str]) -> dict[str, object]:
    texts = {
        "title": clean(draft.title, name=Phrase("标题"), field="title", longest=TITLE_MAX, is_required=True),
        "words": clean(
            draft.words, name=Phrase("正文"), field="words", longest=WORDS_MAX, is_required=True, lines=True
        ),
    }
    listed_words = sensitive_words.listed(session)
    for field, value in texts.items():
        refuse_bad_wording(value, field=field, hosts=hosts, listed=listed_words)
    if draft.shown_until is not None and draft.shown_until <= draft.shown_from:
        raise Invalid("结束要在开始之后。", field="shown_until")
    if draft.is_paid and draft.shown_until is None:
        raise Invalid("收费的公告要写结束时间。", field="shown_until")
    if draft.is_paid and draft.shown_until is not None and draft.shown_until - draft.shown_from > LONGEST_PAID:
        raise Invalid("收费的公告一次最长一年。", field="shown_until")
    if draft.picture_id is not None and not session.scalar(
        select(NoticePicture.id).filter_by(id=draft.picture_id, account_id=account_id)
    ):
        raise NotFound("没有这张图片。")
    return {
        **texts,
        "shown_from": draft.shown_from,
        "shown_until": draft.shown_until,
        "is_pinned": draft.is_pinned,
        "is_paid": draft.is_paid,
        "picture_id": draft.picture_id,
    }


def _place(session: Session, account_id: int, notice_id: int, places: Sequence[Place]) -> None:
    wanted = set(places)
    if len(wanted) > MOST_PLACES:
        raise Invalid("一条公告最多选 %(most)s 处。", field="places", most=MOST_PLACES)
    whole = {place.community_id for place in wanted if place.building_id is None}
    known = set(session.scalars(select(Community.id).where(Community.account_id == account_id)))
    built = {(row[0], row[1]) for row in session.execute(select(Building.community_id, Building.id))}
    for place in sorted(wanted, key=lambda place: (place.community_id, place.building_id or 0)):
        if place.community_id not in known:
            raise Invalid("没有这个社区。", field="places")
        if place.building_id is not None and (place.community_id, place.building_id) not in built:
            raise Invalid("没有这栋楼。", field="places")
        # Whoever is told by their community is not told by their building again.
        if place.building_id is None or place.community_id not in whole:
            session.execute(
                insert(NoticePlace).values(
                    account_id=account_id,
                    notice_id=notice_id,
                    community_id=place.community_id,
                    building_id=place.building_id,
                )
            )
