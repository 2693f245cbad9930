"""Groups of fans that a merchant keeps under a name: conditions over everything known, counted live.

A group is never a list of people: who is erased or comes later is out or in by itself. Runs under the merchant role.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from campaigns.coupons import cards
from campaigns.models import Segment
from core.database import rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from merchants.wording import clean
from qrcodes import fans
from qrcodes.fans import TAG_MAX, FanRow, Filter
from qrcodes.models import SubQrCode

MOST_SEGMENTS: Final = 20
SAMPLE: Final = 5


class NothingWanted(BusinessError):
    code = "nothing_wanted"
    status = 422
    message = "请先选一个条件，再存成分组。"


@dataclass(frozen=True)
class Group:
    """A segment with how many are in it now."""

    id: int
    name: str
    wanted: Filter
    is_tag: bool
    count: int


def save(session: Session, *, merchant_id: int, name: str, wanted: Filter, is_tag: bool = False) -> int:
    """Keep conditions under a name; the same name again takes the new conditions. Returns the segment's id.

    Raises `NothingWanted`, `Invalid` for a bad name, `NotFound` for another merchant's code or coupon (TN-3).
    """
    given = as_stored(wanted)
    if not given:
        raise NothingWanted
    if wanted.holds_template_id is not None:
        cards.own(session, merchant_id=merchant_id, template_id=wanted.holds_template_id)
    own = select(SubQrCode.id).where(SubQrCode.id == wanted.code_id, SubQrCode.merchant_id == merchant_id)
    if wanted.code_id is not None and session.scalar(own) is None:
        raise NotFound("没有这个二维码。")
    cleaned = clean(name, name=Phrase("分组名"), field="name", longest=TAG_MAX, is_required=True)
    others = (
        select(func.count()).select_from(Segment).where(Segment.merchant_id == merchant_id, Segment.name != cleaned)
    )
    if session.execute(others).scalar_one() >= MOST_SEGMENTS:
        raise Invalid("最多 %(most)s 个分组，请先删掉不用的。", field="name", most=MOST_SEGMENTS)
    new = insert(Segment).values(merchant_id=merchant_id, name=cleaned, wanted=given, is_tag=is_tag)
    changed = {"wanted": new.excluded.wanted, "is_tag": new.excluded.is_tag}
    statement = new.on_conflict_do_update(index_elements=["merchant_id", "name"], set_=changed)
    return session.execute(statement.returning(Segment.id)).scalar_one()


def remove(session: Session, *, merchant_id: int, segment_id: int) -> str:
    """Forget a segment; its fans stay what they are. Returns its name."""
    segment = _own(session, merchant_id, segment_id)
    name = segment.name
    session.execute(delete(Segment).where(Segment.id == segment_id, Segment.merchant_id == merchant_id))
    return name


def set_tag(session: Session, *, merchant_id: int, segment_id: int, is_tag: bool) -> None:
    """Show a segment's name at its fans, or no longer."""
    mine = update(Segment).where(Segment.id == segment_id, Segment.merchant_id == merchant_id)
    if not rows_changed(session.execute(mine.values(is_tag=is_tag))):
        raise NotFound("没有这个分组。")


def groups(session: Session, *, merchant_id: int) -> list[Group]:
    """A merchant's segments, the oldest first, each counted."""
    rows = session.scalars(select(Segment).where(Segment.merchant_id == merchant_id).order_by(Segment.id)).all()
    return [
        Group(row.id, row.name, (wanted := as_filter(row.wanted)), row.is_tag, fans.count(session, merchant_id, wanted))
        for row in rows
    ]


def group(session: Session, *, merchant_id: int, segment_id: int) -> Group:
    """One segment, counted; `NotFound` for another merchant's (TN-3)."""
    row = _own(session, merchant_id, segment_id)
    wanted = as_filter(row.wanted)
    return Group(row.id, row.name, wanted, row.is_tag, fans.count(session, merchant_id, wanted))


def sample(session: Session, *, merchant_id: int, wanted: Filter) -> list[FanRow]:
    """Some of those whom conditions mean, the latest seen first."""
    return fans.page(session, merchant_id, wanted, limit=SAMPLE)


def tags_by_rule(session: Session, *, merchant_id: int, follower_ids: Sequence[int]) -> dict[int, list[str]]:
    """The names of the segments shown as tags, for those of some followers who are in them."""
    rules = select(Segment).where(Segment.merchant_id == merchant_id, Segment.is_tag).order_by(Segment.id)
    found: dict[int, list[str]] = {}
    for rule in session.scalars(rules):
        for follower_id in fans.which_of(session, merchant_id, as_filter(rule.wanted), follower_ids):
            found.setdefault(follower_id, []).append(rule.name)
    return found


def as_stored(wanted: Filter) -> dict[str, Any]:
    """The conditions that are given."""
    return {name: value for name, value in asdict(wanted).items() if value}


def as_filter(stored: dict[str, Any]) -> Filter:
    """The same, read back; a condition that no longer exists is left out."""
    known = {field.name for field in fields(Filter)}
    return Filter(**{name: value for name, value in stored.items() if name in known})


def _own(session: Session, merchant_id: int, segment_id: int) -> Segment:
    row = session.scalar(select(Segment).where(Segment.id == segment_id, Segment.merchant_id == merchant_id))
    if row is None:
        raise NotFound("没有这个分组。")
    return row
