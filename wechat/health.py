"""Is the platform within reach, and does it know us: the questions behind the operator's self-test.

Each is one call and changes nothing. None of them is to be asked inside a transaction.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import business_day
from core.database import Database
from core.settings import Settings
from wechat.client import CallbackCheck, WeChatClient
from wechat.models import WeChatToken
from wechat.tokens import TokenEndpoint, TokenStore
from wechat.transport import Transport


@dataclass(frozen=True)
class TokenFacts:
    """What may be told about the access token; the token itself is not among it. Real times."""

    expires_at: datetime
    refreshed_at: datetime
    is_valid: bool
    forced_today: int


def token_facts(session: Session, app_id: str) -> TokenFacts | None:
    """The token as all processes share it; None before the first call."""
    row = session.get(WeChatToken, app_id)
    if row is None:
        return None
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    forced = row.forced_that_day if row.forced_on == business_day(now) else 0
    return TokenFacts(row.expires_at, row.refreshed_at, row.expires_at > now, forced)


def obtain_token(settings: Settings, database: Database) -> None:
    """Have a token, asking the platform for one if there is none; raises `WeChatError`."""
    transport = Transport(api_url=settings.wechat_api_url, mp_url=settings.wechat_mp_url)
    endpoint = TokenEndpoint(transport, app_id=settings.wechat_app_id, app_secret=settings.wechat_app_secret)
    TokenStore(database, endpoint, app_id=settings.wechat_app_id).current()


def platform_addresses(settings: Settings, database: Database) -> int:
    """From how many addresses the platform calls us: proves the token and that our IP is listed."""
    return len(WeChatClient.build(settings, database).callback_ips())


def reach_callback(settings: Settings, database: Database) -> CallbackCheck:
    """How the platform itself finds our callback's address."""
    return WeChatClient.build(settings, database).check_callback()


def is_reachable(check: CallbackCheck) -> bool:
    """At least one network's ping came back whole or in part."""
    return any(ping.loss.rstrip("% ") not in {"100", "100.0", "100.00"} for ping in check.pings)
