"""What codes and pictures owe to the platform: claim, call, record, with the network between two transactions."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy import select, update

from core.database import Role
from core.jobs import Handler
from core.outbox import Task
from core.runtime import Runtime
from merchants import pictures
from merchants.models import Picture
from qrcodes import codes, rollups
from wechat.client import client_of
from wechat.patience import patient


def create_code(runtime: Runtime, task: Task) -> None:
    """Make a planned code at the platform. Run again after a crash it asks for the same scene (QR-4)."""
    make_code(runtime, int(task.payload["code_id"]))


def make_code(runtime: Runtime, code_id: int) -> None:
    """Ask the platform for a code that is still planned and record its answer; raises `WeChatError`."""
    with runtime.transaction(Role.PLATFORM) as session:
        wanted = codes.planned(session, code_id)
    if wanted is None:
        return
    # A temporary code's life starts at some moment of the call: from its start on is the safe side.
    asked_at = runtime.now()
    created = client_of(runtime).create_code(
        wanted.scene, permanent=wanted.permanent, expire_seconds=wanted.expire_seconds
    )
    lifetime = created.expire_seconds
    expires_at = None if lifetime is None else asked_at + timedelta(seconds=lifetime)
    with runtime.transaction(Role.PLATFORM) as session:
        codes.record_created(session, code_id=code_id, ticket=created.ticket, url=created.url, expires_at=expires_at)


def upload_picture(runtime: Runtime, task: Task) -> None:
    """Copy a picture to the account's permanent material once; a crash in between costs one unused copy."""
    copy_picture(runtime, int(task.payload["picture_id"]))


def copy_picture(runtime: Runtime, picture_id: int) -> None:
    """The same at once, for who cannot wait; raises `WeChatError`."""
    with runtime.transaction(Role.PLATFORM) as session:
        waiting = select(Picture.content).where(Picture.id == picture_id, Picture.media_id.is_(None))
        content = session.scalar(waiting)
    if content is None:
        return
    uploaded = client_of(runtime).add_permanent_image(content, f"{picture_id}.jpg")
    with runtime.transaction(Role.PLATFORM) as session:
        mine = update(Picture).where(Picture.id == picture_id, Picture.media_id.is_(None))
        session.execute(mine.values(media_id=uploaded.media_id, wechat_url=uploaded.url))


HANDLERS: Final[Mapping[str, Handler]] = {
    codes.CREATE: patient(create_code),
    pictures.UPLOAD: patient(upload_picture),
    rollups.COUNT: rollups.work_off,
}
