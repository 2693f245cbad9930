"""A sender as they are usually built: what was not confirmed is sent again, and each try is a new one to the platform.

Started in place of `quanma`, it is the control of the fault run: the judge has to see what it does.
"""

import secrets
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.broadcasts import control, sending
from campaigns.broadcasts.mass import MassCall
from campaigns.broadcasts.verdict import Verdict
from web.cli import main
from wechat.client import WeChatClient

_AGAIN: Final = text("""
    UPDATE broadcast_recipient SET state = 'planned'
    WHERE state IN ('claimed', 'calling') AND lease_until < clock_timestamp()""")
_BATCHES_AGAIN: Final = text("""
    UPDATE send_batch SET state = 'planned'
    WHERE state IN ('claimed', 'calling') AND lease_until < clock_timestamp()""")


def _start_again(session: Session) -> None:
    session.execute(_AGAIN)
    session.execute(_BATCHES_AGAIN)


def _send_as_new(call: MassCall, client: WeChatClient) -> int:
    return client.mass_send(call.openids, call.content, secrets.token_hex(8)).msg_id


def forget_the_promises() -> None:
    """Only in this process and what it forks."""
    sending._ROW_STATES[Verdict.UNKNOWN] = "planned"
    control._give_up_lost_calls = _start_again
    MassCall.send = _send_as_new  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    forget_the_promises()
    main()
