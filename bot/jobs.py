"""The conversation's kinds of tasks."""

from collections.abc import Mapping
from typing import Final

from bot import erasers, follow_ups, notices, reconcile, retention
from bot.effects import Step
from bot.menus import publishing as menus
from bot.talks import media, sending
from core.jobs import Handler
from merchants.notices import SEND as SEND_NOTICE
from wechat.patience import patient

HANDLERS: Final[Mapping[str, Handler]] = {
    Step.CHECK_FOLLOWER: patient(reconcile.check_follower),
    Step.ERASE_FOLLOWER: erasers.erase_follower,
    follow_ups.SEND: follow_ups.send_follow_up,
    SEND_NOTICE: notices.send_notice,
    reconcile.RECONCILE: patient(reconcile.reconcile_followers),
    retention.FORGET: retention.forget_old,
    **sending.HANDLERS,
    **media.HANDLERS,
    menus.LOOK: patient(menus.look_by_itself),
}
