"""Pictures and voices of talks: of fans, fetched from the platform while it has them, and those that they are answered
with. Whoever reads the talk sees them, nobody else, for thirty days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from bot.talks.intake import FETCH
from core.database import Role
from core.errors import Invalid, NotFound
from core.jobs import Handler
from core.outbox import Task
from core.runtime import Runtime
from merchants import pictures
from merchants.pictures import Prepared
from wechat.client import WeChatClient, client_of
from wechat.errors import BadRequest
from wechat.patience import patient

VOICE_MAX_BYTES: Final = 2 * 1024 * 1024
_FINAL: Final = frozenset({40007, None})
"""No such file, or not any more; without a code, one that is too large or of no kind that is shown."""


@dataclass(frozen=True)
class File:
    """A picture, drawn anew, or a fan's voice, as the platform gave it."""

    content: bytes
    mime: str


def file(session: Session, *, merchant_id: int, talk_id: int, message_id: int) -> File:
    """The file of one message; missing while it is being fetched, once it is gone, and where it is another's (TN-3).

    To be served with exactly this type and `nosniff`: it is what a stranger sent.
    """
    row = session.execute(
        text("""
            SELECT d.content, d.mime
            FROM talk_media d JOIN talk_message m ON m.merchant_id = d.merchant_id AND m.id = d.message_id
            WHERE d.merchant_id = :merchant_id AND d.message_id = :id AND m.talk_id = :talk_id
              AND d.state = 'kept'"""),
        {"merchant_id": merchant_id, "talk_id": talk_id, "id": message_id},
    ).one_or_none()
    if row is None:
        raise NotFound("没有这个文件，或者已经过期删除。")
    return File(bytes(row.content), row.mime)


def keep(session: Session, *, merchant_id: int, message_id: int, picture: Prepared) -> None:
    """Keep the picture of an answer that was just written."""
    session.execute(
        text("""
            INSERT INTO talk_media (message_id, merchant_id, state, mime, content)
            VALUES (:message_id, :merchant_id, 'kept', :mime, :content)"""),
        {"message_id": message_id, "merchant_id": merchant_id, "mime": pictures.MIME, "content": picture.content},
    )


def picture(session: Session, message_id: int) -> bytes:
    """What `keep` has kept, for the worker that sends it."""
    content = session.execute(
        text("SELECT content FROM talk_media WHERE message_id = :id AND state = 'kept'"), {"id": message_id}
    ).scalar_one()
    return bytes(content)


def fetch(runtime: Runtime, task: Task) -> None:
    """Fetch the file of one message, as long as it is wanted; asking again does no harm."""
    inbox_id = int(task.payload["inbox_id"])
    with runtime.transaction(Role.PLATFORM) as session:
        wanted = session.execute(
            text("""
                SELECT d.message_id, d.media_id, m.talk_id
                FROM talk_message m JOIN talk_media d ON d.message_id = m.id AND d.merchant_id = m.merchant_id
                WHERE m.inbox_id = :inbox_id AND m.direction = 'in' AND d.state = 'wanted'
                  AND d.media_id IS NOT NULL"""),
            {"inbox_id": inbox_id},
        ).one_or_none()
    if wanted is None:
        return
    got = _get(client_of(runtime), wanted.media_id)
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("SELECT 1 FROM talk WHERE id = :id FOR UPDATE"), {"id": wanted.talk_id})
        # Whoever asked to be forgotten meanwhile is not remembered by this.
        session.execute(
            text("""
                UPDATE talk_media SET state = :state, content = :content, mime = :mime, media_id = NULL
                WHERE message_id = :id AND state = 'wanted' AND media_id IS NOT NULL"""),
            {"id": wanted.message_id, "state": "kept" if got else "gone", "content": got and got.content,
             "mime": got.mime if got else ""},
        )  # fmt: skip
        session.execute(text("UPDATE talk SET version = version WHERE id = :id"), {"id": wanted.talk_id})


def _get(client: WeChatClient, media_id: str) -> File | None:
    """The file as it is kept; None where the platform has it no more, or it is none that can be shown. Every other
    failure is raised: the task is tried again.

    Of a picture nothing is left but what it shows, as of those that merchants upload.
    """
    try:
        media = client.temporary_media(media_id)
    except BadRequest as refusal:
        if refusal.errcode in _FINAL:
            return None
        raise
    if media.mime.startswith("image/"):
        try:
            return File(pictures.prepare(media.content).content, pictures.MIME)
        except Invalid:
            return None
    return File(media.content, media.mime) if len(media.content) <= VOICE_MAX_BYTES else None


HANDLERS: Final[Mapping[str, Handler]] = {FETCH: patient(fetch)}
