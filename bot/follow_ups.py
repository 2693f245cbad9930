"""Messages that follow a welcome or a rule's first answer: at most once each, inside the window that the scan or the
message opened, whatever dies on the way.

`calling` is committed before the platform is asked. Where its answer is missing nobody knows whether the message
went out; it then stays `unknown` and is never sent again (F16).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.orm import Session

from bot import store
from bot.models import FollowUp, MessageState, MessageWindow
from bot.rules import book
from core.database import Role, rows_changed
from core.outbox import Task, TryLater
from core.runtime import Runtime
from merchants.models import FollowStatus, OfficialAccount, Picture
from merchants.reviews import ReviewState
from qrcodes import welcomes
from qrcodes.models import Welcome
from wechat import outcome
from wechat.client import WeChatClient, client_of
from wechat.errors import WaitAMinute
from wechat.outcome import CALL_LASTS
from wechat.replies import Reply

SEND: Final = "send_follow_up"
IN_TURN: Final = timedelta(seconds=1)
"""How soon to look again whether the message before has gone out."""
SOON: Final = timedelta(seconds=5)
"""How soon to try again what the platform was too busy for: windows are a minute long."""


@dataclass(frozen=True, slots=True)
class _Call:
    id: int
    inbox_id: int
    openid: str
    reply: Reply


def send_follow_up(runtime: Runtime, task: Task) -> None:
    """Send one planned message, unless it was begun before, its window closed, or its reader is gone."""
    inbox_id, position = int(task.payload["inbox_id"]), int(task.payload["position"])
    with runtime.transaction(Role.PLATFORM) as session:
        call = _begin(session, inbox_id, position, public_url=runtime.settings.public_url)
    if call is None:
        return
    client = client_of(runtime)
    try:
        became, errcode = outcome.of(lambda: _send(client, call.openid, call.reply))
    except WaitAMinute:
        with runtime.transaction(Role.PLATFORM) as session:
            _take_back(session, call)
        raise TryLater(SOON) from None
    with runtime.transaction(Role.PLATFORM) as session:
        # The sweep may have given the call up meanwhile; what we saw ourselves is better.
        mine = update(FollowUp).where(
            FollowUp.id == call.id, FollowUp.state.in_((MessageState.CALLING, MessageState.UNKNOWN))
        )
        session.execute(mine.values(state=MessageState(became), errcode=errcode))


def give_up_lost_calls(session: Session, now: datetime) -> None:  # noqa: ARG001  calls last as long as they last
    """Admit that nobody will tell any more what became of calls whose worker died."""
    lost = update(FollowUp).where(
        FollowUp.state == MessageState.CALLING, FollowUp.calling_at < func.statement_timestamp() - CALL_LASTS
    )
    session.execute(lost.values(state=MessageState.UNKNOWN))


def _begin(session: Session, inbox_id: int, position: int, *, public_url: str) -> _Call | None:
    """Commit to one call: from here on it counts as made. None where there is nothing to say, or not any more."""
    row = session.execute(
        text("""
            SELECT u.id, u.welcome_id, u.rule_id, u.position, f.openid, f.status, i.account_id, i.scene, i.event_at,
                   EXISTS (SELECT 1 FROM follow_up e JOIN message_window w ON w.inbox_id = e.inbox_id
                           WHERE e.inbox_id = u.inbox_id AND e.position < u.position
                             AND e.state IN ('planned', 'calling') AND w.expires_at > app_now()) AS has_to_wait
            FROM follow_up u
            JOIN follower f ON f.id = u.follower_id
            JOIN inbox_event i ON i.id = u.inbox_id
            WHERE u.inbox_id = :inbox_id AND u.position = :position AND u.state = 'planned'
            FOR UPDATE OF f, u"""),
        {"inbox_id": inbox_id, "position": position},
    ).one_or_none()
    if row is None:
        return None
    if row.has_to_wait:
        raise TryLater(IN_TURN)
    reply = _words(session, row, public_url=public_url)
    if reply is None or row.openid is None or row.status != FollowStatus.FOLLOWING or not _spend(session, inbox_id):
        session.execute(update(FollowUp).where(FollowUp.id == row.id).values(state=MessageState.SKIPPED))
        return None
    calling = {"state": MessageState.CALLING, "calling_at": func.clock_timestamp()}
    session.execute(update(FollowUp).where(FollowUp.id == row.id).values(calling))
    return _Call(row.id, inbox_id, row.openid, reply)


def _spend(session: Session, inbox_id: int) -> bool:
    """Take one message out of the window; False once it has closed or is used up (BC-10)."""
    window = update(MessageWindow).where(
        MessageWindow.inbox_id == inbox_id,
        MessageWindow.expires_at > func.app_now(),
        MessageWindow.used < MessageWindow.allowance,
    )
    return rows_changed(session.execute(window.values(used=MessageWindow.used + 1))) == 1


def _take_back(session: Session, call: _Call) -> None:
    """The platform was too busy to take the message: it is planned again and its place in the window free."""
    mine = update(FollowUp).where(FollowUp.id == call.id, FollowUp.state == MessageState.CALLING)
    if rows_changed(session.execute(mine.values(state=MessageState.PLANNED, calling_at=None))):
        window = update(MessageWindow).where(MessageWindow.inbox_id == call.inbox_id)
        session.execute(window.values(used=MessageWindow.used - 1))


def _words(session: Session, row: Row[Any], *, public_url: str) -> Reply | None:
    """The welcome's words for that scan, or the rule's; None where its author has taken them back meanwhile."""
    if row.rule_id is not None:
        return book.answer_at(session, row.rule_id, row.position)
    found = session.execute(
        select(Welcome, Picture.media_id, Picture.wechat_url)
        .outerjoin(Picture, Picture.id == Welcome.picture_id)
        .where(Welcome.id == row.welcome_id, Welcome.review == ReviewState.APPROVED)
    ).one_or_none()
    if found is None:
        return None
    welcome, media_id, wechat_url = found
    message = welcomes.Message(
        id=welcome.id,
        position=welcome.position,
        kind=welcome.kind,
        text=welcome.text,
        title=welcome.title,
        description=welcome.description,
        url=welcome.url,
        has_picture=welcome.picture_id is not None,
        media_id=media_id,
        picurl=wechat_url,
    )
    scanned = (row.scene or "", row.event_at)
    code = store.codes_at(store.driver(session), row.account_id, {scanned}).get(scanned)
    if code is None:
        return welcomes.render(message, community=session.get_one(OfficialAccount, row.account_id).name)
    return welcomes.render(
        message,
        merchant_name=code.merchant_name,
        community=code.community_name,
        code_label=code.label,
        place=code.place,
        page_url=f"{public_url}/q/{code.public_id}",
    )


def _send(client: WeChatClient, openid: str, reply: Reply) -> None:
    client.send_reply(openid, reply)
