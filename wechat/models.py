"""The tables of the platform's floor: the access token and the page ticket that all processes share."""

from datetime import date, datetime

from sqlalchemy import BigInteger, Date, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN


class WeChatToken(Base):
    """The access token of one account. All times are real time: the platform's tokens do not follow our clock."""

    __tablename__ = "wechat_token"

    app_id: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    access_token: Mapped[str] = mapped_column(Text, info=PLAIN)
    # Counts the different tokens seen, so that of two processes holding a rejected one only the first replaces it.
    version: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    refreshed_at: Mapped[datetime] = mapped_column(Timestamp)
    # When a token the platform had rejected was last replaced, or an attempt to do so failed.
    replaced_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_forced_at: Mapped[datetime | None] = mapped_column(Timestamp)
    forced_on: Mapped[date | None] = mapped_column(Date)
    forced_that_day: Mapped[int] = mapped_column(Integer, server_default=text("0"))


class WeChatTicket(Base):
    """The ticket that pages of one account are signed with. Real time, as for the token."""

    __tablename__ = "wechat_ticket"

    app_id: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    ticket: Mapped[str] = mapped_column(Text, info=PLAIN)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
