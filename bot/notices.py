"""Notices to staff in the chat: at most once each, only to who has a window open, and never the window's last words.

A window is opened by the person, for answers. A notice takes one of its messages only while more than `KEPT` are
left, only from the long window a message of theirs has opened, and never from a conversation with another merchant.
Where there is none the notice stays in the pages. `calling` is committed before the platform is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, text, update
from sqlalchemy.orm import Session

from core.clock import business_day, start_of_day
from core.database import Role, rows_changed
from core.outbox import Task, TryLater
from core.runtime import Runtime
from merchants import notices
from merchants.models import NoticeKind, NoticeState, StaffNotice
from merchants.notices import News
from qrcodes.queries import ALARM_DAYS
from wechat import outcome
from wechat.client import client_of
from wechat.errors import WaitAMinute
from wechat.outcome import CALL_LASTS

KEPT: Final = 2
"""Messages of a window that are left for answers."""
LOOKS_BACK: Final = timedelta(minutes=10)
"""How late the first fan of a day may be noticed."""
SOON: Final = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class _Call:
    notice_id: int
    window_id: int
    openid: str
    words: str


def send_notice(runtime: Runtime, task: Task) -> None:
    """Say one notice in the chat, unless it was begun before or no window is open for it."""
    notice_id = int(task.payload["notice_id"])
    with runtime.transaction(Role.PLATFORM) as session:
        call = _begin(session, notice_id, desk_url=f"{runtime.settings.public_url}/auth/wechat")
    if call is None:
        return
    client = client_of(runtime)
    try:
        became, errcode = outcome.of(lambda: client.send_text(call.openid, call.words))
    except WaitAMinute:
        with runtime.transaction(Role.PLATFORM) as session:
            _take_back(session, call)
        raise TryLater(SOON) from None
    with runtime.transaction(Role.PLATFORM) as session:
        mine = update(StaffNotice).where(
            StaffNotice.id == call.notice_id, StaffNotice.state.in_((NoticeState.CALLING, NoticeState.UNKNOWN))
        )
        session.execute(mine.values(state=NoticeState(became), errcode=errcode))


def _begin(session: Session, notice_id: int, *, desk_url: str) -> _Call | None:
    """Commit to one call, for who is still bound, follows, and has not read it in the pages meanwhile."""
    row = session.execute(
        text("""
            SELECT n.id, n.merchant_id, f.id AS follower_id, f.openid, f.status, n.read_at
            FROM staff_notice n
            JOIN staff s ON s.id = n.staff_id AND s.disabled_at IS NULL
            JOIN merchant m ON m.id = n.merchant_id AND m.state = 'active'
            LEFT JOIN staff_identity i ON i.staff_id = n.staff_id AND i.unbound_at IS NULL
            LEFT JOIN follower f ON f.id = i.follower_id
            WHERE n.id = :id AND n.state = 'planned'
            FOR UPDATE OF n"""),
        {"id": notice_id},
    ).one_or_none()
    if row is None:
        return None
    window_id = None
    if row.openid is not None and row.status == "following" and row.read_at is None:
        window_id = _spend(session, row.follower_id, row.merchant_id)
    mine = update(StaffNotice).where(StaffNotice.id == notice_id)
    if window_id is None:
        session.execute(mine.values(state=NoticeState.ON_PAGE))
        return None
    calling = {"state": NoticeState.CALLING, "window_id": window_id, "calling_at": func.clock_timestamp()}
    session.execute(mine.values(calling))
    notice = session.get_one(StaffNotice, notice_id)
    return _Call(
        notice_id, window_id, row.openid, f'{words(notice)}\n<a href="{desk_url}?next={notice.path}">去看看</a>'
    )


def _spend(session: Session, follower_id: int, merchant_id: int) -> int | None:
    """Take one message out of a window of theirs that has some to spare; None where there is none (BC-10)."""
    taken: int | None = session.execute(
        text("""
            UPDATE message_window SET used = used + 1 WHERE inbox_id = (
                SELECT inbox_id FROM message_window
                WHERE follower_id = :follower_id AND trigger = 'message' AND expires_at > app_now()
                  AND used < allowance - :kept AND (merchant_id IS NULL OR merchant_id = :merchant_id)
                ORDER BY expires_at LIMIT 1 FOR UPDATE)
            RETURNING inbox_id"""),
        {"follower_id": follower_id, "merchant_id": merchant_id, "kept": KEPT},
    ).scalar()
    return taken


def _take_back(session: Session, call: _Call) -> None:
    """The platform was too busy to take the message: it is planned again and its place in the window free."""
    mine = update(StaffNotice).where(StaffNotice.id == call.notice_id, StaffNotice.state == NoticeState.CALLING)
    planned = {"state": NoticeState.PLANNED, "window_id": None, "calling_at": None}
    if rows_changed(session.execute(mine.values(planned))):
        session.execute(text("UPDATE message_window SET used = used - 1 WHERE inbox_id = :id"), {"id": call.window_id})


def give_up_lost_calls(session: Session, now: datetime) -> None:  # noqa: ARG001  calls last as long as they last
    """Admit that nobody will tell any more what became of calls whose worker died."""
    lost = update(StaffNotice).where(
        StaffNotice.state == NoticeState.CALLING, StaffNotice.calling_at < func.clock_timestamp() - CALL_LASTS
    )
    session.execute(lost.values(state=NoticeState.UNKNOWN))


def words(notice: StaffNotice) -> str:
    """What the chat says of it."""
    if notice.cause.startswith(notices.CARD):
        what = "本店名片"
    elif notice.cause.startswith(notices.SLOGAN):
        what = "海报上的口号"
    elif notice.cause.startswith(notices.BROADCAST):
        what = f"群发“{notice.subject}”" if notice.subject else "群发"
    elif notice.cause.startswith(notices.RULE):
        what = f"自动回复“{notice.subject}”"
    elif notice.cause.startswith(notices.DESK):
        what = "接待时说的话"
    else:
        what = f"“{notice.subject}”的欢迎语" if notice.subject else "本店的欢迎语"
    match NoticeKind(notice.kind):
        case NoticeKind.APPROVED:
            return f"{what}通过了，{_from_now_on(notice)}。"
        case NoticeKind.REFUSED:
            return f"{what}没有通过：{notice.reason}"
        case NoticeKind.EXPIRING:
            return f"临时二维码“{notice.subject}”还有 {notice.days} 天到期，到期后扫了没有反应。"
        case NoticeKind.FIRST_FAN:
            return f"今天的第一位新粉丝来了，扫的是“{notice.subject}”。"
        case NoticeKind.TALK_WAITS:
            return f"客人 {notice.subject} 在等您回复。"


def _from_now_on(notice: StaffNotice) -> str:
    if notice.cause.startswith(notices.SLOGAN):
        return "再下载的海报会印上它"
    return "到时间就会发出" if notice.cause.startswith(notices.BROADCAST) else "客人现在就会看到"


def tell_of_ending_codes(session: Session, now: datetime) -> None:
    """At each of the `ALARM_DAYS` before a temporary code in use ends."""
    for days in ALARM_DAYS:
        day = business_day(now) + timedelta(days=days)
        ending = session.execute(
            text("""
                SELECT id, merchant_id, label FROM sub_qr_code
                WHERE state = 'active' AND NOT permanent AND expires_at >= :since AND expires_at < :until
                ORDER BY id"""),
            {"since": start_of_day(day), "until": start_of_day(day + timedelta(days=1))},
        ).all()
        for code in ending:
            news = News(
                NoticeKind.EXPIRING,
                cause=f"expiring:{code.id}:{days}",
                path=f"/merchant/codes/{code.id}",
                subject=code.label,
                days=days,
            )
            notices.tell(session, merchant_id=code.merchant_id, news=news, now=now)


def tell_of_first_fans(session: Session, now: datetime) -> None:
    """The day's first new fan of each merchant, soon after the scan; trying a code out brings nobody."""
    today = business_day(now)
    since = max(start_of_day(today), now - LOOKS_BACK)
    first = session.execute(
        text("""
            SELECT DISTINCT ON (a.merchant_id) a.merchant_id, c.label
            FROM attribution a
            JOIN follow_episode e ON e.attribution_id = a.id AND e.voided_at IS NULL
            JOIN sub_qr_code c ON c.id = a.code_id
            WHERE a.followed_at >= :since AND a.kind = 'new' AND a.merchant_id IS NOT NULL
              AND NOT EXISTS (SELECT 1 FROM scan s WHERE s.follower_id = a.follower_id
                              AND s.scanned_at = a.followed_at AND (s.by_staff OR s.is_test))
              AND NOT EXISTS (SELECT 1 FROM staff_notice n WHERE n.merchant_id = a.merchant_id AND n.cause = :cause)
            ORDER BY a.merchant_id, a.followed_at"""),
        {"since": since, "cause": f"first_fan:{today}"},
    ).all()
    for one in first:
        news = News(NoticeKind.FIRST_FAN, cause=f"first_fan:{today}", path="/merchant/fans", subject=one.label)
        notices.tell(session, merchant_id=one.merchant_id, news=news, now=now)
