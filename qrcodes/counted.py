"""What traffic is kept as: what waits to be counted, the counts by day, and what was noticed in them."""

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN
from merchants.models import NOW

NOBODY = 0
"""In place of a merchant or code: nobody's, or all of them at a level above."""


class UncountedScan(Base):
    """A scan that the daily counts do not hold yet; a trigger on `scan` notes every one.

    `is_news` is false for what was there before anything was counted: counting it restates nothing.
    """

    __tablename__ = "uncounted_scan"

    follower_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    scan_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    is_news: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))


class UncountedFollow(Base):
    """A state of a follow episode to add to the daily counts, or with `sign` -1 to take out of them again.

    Attributions are never edited, so an attribution and an end say all that an episode counts for.
    """

    __tablename__ = "uncounted_follow"
    __table_args__ = (CheckConstraint("sign IN (-1, 1)", name="sign"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    attribution_id: Mapped[int] = mapped_column(BigInteger)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    sign: Mapped[int] = mapped_column(SmallInteger)
    is_news: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))


class TrafficState(Base):
    """One row: when the counts last changed, and the day up to which `recent_traffic` looks back.

    Whoever counts holds its lock.
    """

    __tablename__ = "traffic_state"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    counted_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    recent_until: Mapped[date | None] = mapped_column(Date)


class Level(StrEnum):
    """What a row of daily counts is about."""

    ACCOUNT = "account"
    MERCHANT = "merchant"
    """A merchant's, or with merchant 0 what is nobody's."""
    CODE = "code"
    """A code's for the merchant it was credited to: after a hand-over it has rows for both."""


class DailyTraffic(Base):
    """The counts of one day. Two pairs of arrays make every range and every share exact without looking at a scan.

    `gaps` and `seen`: of the day's scanners, `seen[i]` had been here before within the last `gaps[i]` days; all others
    are new to a range that begins that long ago. `stays` and `gone`: of those won that day (new and back),
    `gone[i]` had left again within `stays[i]` days. The SQL function `within` reads such a pair.
    """

    __tablename__ = "daily_traffic"
    __table_args__ = (
        CheckConstraint("level IN ('account', 'merchant', 'code')", name="level"),
        Index("ix_daily_traffic_merchant_id", "merchant_id", "level", "day"),
        Index("ix_daily_traffic_code_id", "code_id", "day", postgresql_where=text("level = 'code'")),
    )

    level: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    merchant_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    code_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    scans: Mapped[int] = mapped_column(Integer)
    scanners: Mapped[int] = mapped_column(Integer)
    new: Mapped[int] = mapped_column(Integer)
    back: Mapped[int] = mapped_column(Integer)
    lost: Mapped[int] = mapped_column(Integer)
    by_hour: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    """Scans by the hour of the day, at the levels of account and merchant; empty where there were none."""
    gaps: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    seen: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    stays: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    gone: Mapped[list[int]] = mapped_column(ARRAY(Integer))


class RecentTraffic(Base):
    """The last 7 and 30 days of every merchant and code, added up: what lists of all of them are read from.

    `of_7` were won so long ago that 7 whole days have passed, and `kept_7` of them had not left by then.
    """

    __tablename__ = "recent_traffic"
    __table_args__ = (CheckConstraint("days IN (7, 30)", name="days"),)

    days: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    level: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    merchant_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    code_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    scans: Mapped[int] = mapped_column(BigInteger)
    scanners: Mapped[int] = mapped_column(BigInteger)
    new: Mapped[int] = mapped_column(BigInteger)
    back: Mapped[int] = mapped_column(BigInteger)
    lost: Mapped[int] = mapped_column(BigInteger)
    kept_1: Mapped[int] = mapped_column(BigInteger)
    of_1: Mapped[int] = mapped_column(BigInteger)
    kept_7: Mapped[int] = mapped_column(BigInteger)
    of_7: Mapped[int] = mapped_column(BigInteger)
    kept_30: Mapped[int] = mapped_column(BigInteger)
    of_30: Mapped[int] = mapped_column(BigInteger)


class OnwardScan(Base):
    """Where somebody went next: the first scan of another merchant's code after a follow that counts for a merchant."""

    __tablename__ = "onward_scan"
    __table_args__ = (Index("ix_onward_scan_scanned_at", "scanned_at", "from_merchant_id", "to_merchant_id"),)

    episode_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    follower_id: Mapped[int] = mapped_column(BigInteger, index=True)
    from_merchant_id: Mapped[int] = mapped_column(BigInteger)
    to_merchant_id: Mapped[int] = mapped_column(BigInteger)
    scanned_at: Mapped[datetime] = mapped_column(Timestamp)


class NeighbourExchange(Base):
    """What two merchants brought each other in the last whole days, counted anew each night; a row for either side.

    `visits` are days on which somebody of one scanned at the other; `followers` those whom that put on the list there.
    """

    __tablename__ = "neighbour_exchange"
    __table_args__ = (
        # Each pair once, from the side that gave more.
        Index(
            "ix_neighbour_exchange_givers",
            text("followers_given DESC"), text("visits_given DESC"), "merchant_id", "neighbour_id",
            postgresql_where=text("ROW(followers_given, neighbour_id) > ROW(followers_received, merchant_id)"),
        ),
    )  # fmt: skip

    merchant_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    neighbour_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    followers_given: Mapped[int] = mapped_column(Integer)
    visits_given: Mapped[int] = mapped_column(Integer)
    followers_received: Mapped[int] = mapped_column(Integer)
    visits_received: Mapped[int] = mapped_column(Integer)


class MerchantStanding(Base):
    """Where a merchant stands among those of its community, and all that this was counted from.

    `people` count; those of `by_staff`, `left_soon` and `in_bursts` were won as well and do not.
    """

    __tablename__ = "merchant_standing"
    __table_args__ = (Index("ix_merchant_standing_community_id", "community_id", "rank"),)

    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"), primary_key=True, autoincrement=False)
    community_id: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[date] = mapped_column(Date)
    """The last day that was looked at."""
    people: Mapped[int] = mapped_column(Integer)
    by_staff: Mapped[int] = mapped_column(Integer)
    left_soon: Mapped[int] = mapped_column(Integer)
    in_bursts: Mapped[int] = mapped_column(Integer)
    given: Mapped[int] = mapped_column(Integer)
    received: Mapped[int] = mapped_column(Integer)
    points: Mapped[int] = mapped_column(Integer)
    rank: Mapped[int] = mapped_column(Integer)


class RankPolicy(Base):
    """One row: by what formula the merchants on the front page stand."""

    __tablename__ = "rank_policy"
    __table_args__ = (
        CheckConstraint("id = 1", name="single"),
        CheckConstraint("most_people BETWEEN 1 AND 10000", name="most_people"),
        CheckConstraint("most_an_hour BETWEEN 1 AND 1000", name="most_an_hour"),
        CheckConstraint("points_for_given BETWEEN 0 AND 10", name="points_for_given"),
        CheckConstraint("most_for_given BETWEEN 0 AND 10000", name="most_for_given"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    most_people: Mapped[int] = mapped_column(Integer, server_default=text("100"))
    most_an_hour: Mapped[int] = mapped_column(Integer, server_default=text("10"))
    points_for_given: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    most_for_given: Mapped[int] = mapped_column(Integer, server_default=text("20"))


class TrafficRestatement(Base):
    """What late knowledge changed about a day before yesterday, for one merchant (0: nobody's)."""

    __tablename__ = "traffic_restatement"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    noted_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    day: Mapped[date] = mapped_column(Date)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    scans: Mapped[int] = mapped_column(Integer)
    scanners: Mapped[int] = mapped_column(Integer)
    new: Mapped[int] = mapped_column(Integer)
    back: Mapped[int] = mapped_column(Integer)
    lost: Mapped[int] = mapped_column(Integer)


class Outage(Base):
    """A time in which nobody was there to take in events: a dip of the counts then says nothing."""

    __tablename__ = "outage"
    __table_args__ = (CheckConstraint("ended_at >= began_at", name="order"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    who: Mapped[str] = mapped_column(Text, info=PLAIN)
    began_at: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime] = mapped_column(Timestamp, index=True)


class AlarmKind(StrEnum):
    SILENT = "silent"
    """A code that was scanned most days and was not for several."""
    DROP = "drop"
    SPIKE = "spike"


class TrafficAlarm(Base):
    """Something unusual about a merchant's day, as it was noticed the morning after."""

    __tablename__ = "traffic_alarm"
    __table_args__ = (
        CheckConstraint("kind IN ('silent', 'drop', 'spike')", name="kind"),
        CheckConstraint("(kind = 'silent') = (code_id IS NOT NULL)", name="about"),
        Index("ix_traffic_alarm_day", "day", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    day: Mapped[date] = mapped_column(Date)
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    code_id: Mapped[int | None] = mapped_column(ForeignKey("sub_qr_code.id"))
    scans: Mapped[int] = mapped_column(Integer)
    usual: Mapped[float] = mapped_column(Float)
    """Scans a day in the four weeks before."""
    noted_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
