"""Test sends: a broadcast's words to a member of the merchant's own staff, and to nobody else ever.

Said in a window that person opened, where one has messages to spare, else as the platform's own preview, of which the
account has a hundred a day. A test that is lost or comes twice does no harm, so nothing keeps count of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from campaigns.broadcasts import content, writing
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import WordsKind
from campaigns.broadcasts.reach import RESERVED_FOR_ANSWERS
from core import outbox
from core.database import Role
from core.errors import BusinessError, NotFound
from core.jobs import Handler
from core.models import Outbox
from core.outbox import Task
from core.runtime import Runtime
from merchants.models import Staff, StaffIdentity
from merchants.wording import Severity
from qrcodes import jobs
from wechat import outcome
from wechat.client import WeChatClient, client_of
from wechat.mass import MassArticles, MassContent
from wechat.patience import patient
from wechat.replies import ImageReply, NewsReply, Reply, TextReply

SEND: Final = "preview_broadcast"
MOST_A_DAY: Final = 10


class EnoughPreviews(BusinessError):
    code = "enough_previews"
    status = 429
    message = "今天的试发次数用完了，明天再试。"


@dataclass(frozen=True)
class Tester:
    """Somebody of the staff whose WeChat is known."""

    staff_id: int
    name: str


def testers(session: Session, *, merchant_id: int) -> list[Tester]:
    """To whom a test may go: this merchant's people who bound their WeChat."""
    rows = session.execute(
        select(Staff.id, Staff.name)
        .join(StaffIdentity, StaffIdentity.staff_id == Staff.id)
        .where(Staff.merchant_id == merchant_id, Staff.disabled_at.is_(None), StaffIdentity.unbound_at.is_(None))
        .order_by(Staff.id)
    )
    return [Tester(*row) for row in rows]


def ask(session: Session, *, merchant_id: int, broadcast_id: int, staff_id: int, public_url: str) -> Tester:
    """Owe a test to one of them; `NotFound` for anybody else (TN-3)."""
    writing.own(session, merchant_id=merchant_id, broadcast_id=broadcast_id)
    tester = next((one for one in testers(session, merchant_id=merchant_id) if one.staff_id == staff_id), None)
    if tester is None:
        raise NotFound("没有这个人，或者还没有绑定微信。")
    words = content.load(session, broadcast_id, public_url=public_url)
    for one in words.values():
        if (refusal := content.missing(one)) is not None:
            raise refusal
    found = writing.doubts(session, merchant_id=merchant_id, broadcast_id=broadcast_id, public_url=public_url)
    if any(one.severity is Severity.REFUSED for one in found):
        raise writing.BadWording(findings=found)
    lately = (
        select(func.count())
        .select_from(Outbox)
        .where(
            Outbox.kind == SEND,
            Outbox.merchant_id == merchant_id,
            Outbox.created_at > func.statement_timestamp() - text("interval '1 day'"),
        )
    )
    asked = session.execute(lately).scalar_one()
    if asked + len(words) > MOST_A_DAY:
        raise EnoughPreviews
    for number, variant in enumerate(words):
        outbox.add(
            session,
            kind=SEND,
            dedupe_key=f"{SEND}:{broadcast_id}:{staff_id}:{variant}:{_nonce(session)}:{number}",
            payload={"broadcast_id": broadcast_id, "staff_id": staff_id, "variant": variant},
            queue=outbox.MESSAGES,
            merchant_id=merchant_id,
        )
    return tester


def _nonce(session: Session) -> str:
    return str(session.execute(text("SELECT gen_random_uuid()")).scalar_one())


@dataclass(frozen=True)
class _Test:
    openid: str
    words: Words
    author: str
    facts: Mapping[str, str]
    has_window: bool


def send(runtime: Runtime, task: Task) -> None:
    """Show it to that one person, if they still work there and follow."""
    broadcast_id, staff_id = int(task.payload["broadcast_id"]), int(task.payload["staff_id"])
    variant = str(task.payload["variant"])
    with runtime.transaction(Role.PLATFORM) as session:
        words = content.load(session, broadcast_id).get(variant)
    if words is None:
        return
    if words.picture_id is not None and words.picture is None:
        jobs.copy_picture(runtime, words.picture_id)
    with runtime.transaction(Role.PLATFORM) as session:
        test = _begin(session, runtime, broadcast_id, staff_id, variant)
    if test is None:
        return
    client = client_of(runtime)
    if test.has_window:
        outcome.of(lambda: _say(client, test.openid, content.as_reply(test.words, test.facts)))
        return
    said: MassContent
    if test.words.kind is WordsKind.ARTICLE:
        said = MassArticles(client.add_draft([content.draft_of(test.words, author=test.author)]))
    else:
        said = content.as_mass(test.words)
    outcome.of(lambda: client.mass_preview(test.openid, said))


def _begin(session: Session, runtime: Runtime, broadcast_id: int, staff_id: int, variant: str) -> _Test | None:
    row = session.execute(
        text("""
            SELECT f.id AS follower_id, f.openid, b.merchant_id
            FROM broadcast b
            JOIN staff s ON s.id = :staff_id AND s.merchant_id = b.merchant_id AND s.disabled_at IS NULL
            JOIN merchant m ON m.id = b.merchant_id AND m.state = 'active'
            JOIN staff_identity i ON i.staff_id = s.id AND i.unbound_at IS NULL
            JOIN follower f ON f.id = i.follower_id AND f.status = 'following' AND f.openid IS NOT NULL
            WHERE b.id = :broadcast_id"""),
        {"broadcast_id": broadcast_id, "staff_id": staff_id},
    ).one_or_none()
    words = content.load(session, broadcast_id, public_url=runtime.settings.public_url).get(variant)
    if row is None or words is None:
        return None
    facts = content.facts_of_fans(
        session, merchant_id=row.merchant_id, follower_ids=[row.follower_id], now=runtime.now()
    )
    # An article's page is not there yet, so only the platform's preview can show it.
    has_window = words.kind is not WordsKind.ARTICLE and _spend(session, row.follower_id, row.merchant_id)
    author = content.facts_of_shop(session, row.merchant_id)["商户"]
    return _Test(row.openid, words, author, facts.get(row.follower_id, {}), has_window)


def _spend(session: Session, follower_id: int, merchant_id: int) -> bool:
    """Take one message out of a long window of theirs that has some to spare (BC-10)."""
    taken = session.execute(
        text("""
            UPDATE message_window SET used = used + 1 WHERE inbox_id = (
                SELECT inbox_id FROM message_window
                WHERE follower_id = :follower_id AND trigger = 'message' AND expires_at > app_now()
                  AND used < allowance - :kept AND (merchant_id IS NULL OR merchant_id = :merchant_id)
                ORDER BY expires_at LIMIT 1 FOR UPDATE)
            RETURNING inbox_id"""),
        {"follower_id": follower_id, "merchant_id": merchant_id, "kept": RESERVED_FOR_ANSWERS},
    )
    return taken.scalar() is not None


def _say(client: WeChatClient, openid: str, reply: Reply) -> None:
    match reply:
        case TextReply(content=said):
            client.send_text(openid, said)
        case ImageReply(media_id=media_id):
            client.send_image(openid, media_id)
        case NewsReply():
            client.send_news(
                openid, title=reply.title, description=reply.description, url=reply.url, picurl=reply.picurl
            )


HANDLERS: Final[Mapping[str, Handler]] = {SEND: patient(send)}
