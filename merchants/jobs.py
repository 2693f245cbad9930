"""What staff owe to the platform: the temporary codes of `merchants.links`."""

from collections.abc import Mapping
from typing import Final

from core.database import Role
from core.jobs import Handler
from core.outbox import Task
from core.runtime import Runtime
from merchants import links
from wechat import limits
from wechat.client import client_of
from wechat.patience import patient


def create_staff_link(runtime: Runtime, task: Task) -> None:
    """Make a planned code at the platform. Run again after a crash it asks for the same scene."""
    link_id = int(task.payload["link_id"])
    with runtime.transaction(Role.PLATFORM) as session:
        wanted = links.planned(session, link_id, runtime.now())
    if wanted is None:
        return
    scene, seconds = wanted
    shortest = int(limits.TEMPORARY_CODE_MIN.total_seconds())
    created = client_of(runtime).create_code(scene, permanent=False, expire_seconds=max(shortest, seconds))
    with runtime.transaction(Role.PLATFORM) as session:
        links.record_created(session, link_id=link_id, url=created.url)


HANDLERS: Final[Mapping[str, Handler]] = {links.CREATE: patient(create_staff_link)}
