"""Who the sandbox is: the account's credentials, where it pushes, and the limits it keeps."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import string
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from sandbox.jsontext import compact, strict

_ALPHANUMERIC = string.ascii_letters + string.digits


class Mode(StrEnum):
    """How pushes are wrapped (the console's 明文, 兼容 and 安全 modes)."""

    PLAIN = "plain"
    COMPATIBLE = "compatible"
    SECURE = "secure"


@dataclass
class Limits:
    """Numbers the platform fixes and a test may want smaller."""

    permanent_codes: int = 100_000
    user_page: int = 10_000
    force_refresh_per_day: int = 20
    clear_quota_per_month: int = 10
    push_deliveries: int = 3
    push_timeout_ms: int = 5000
    push_concurrency: int = 64
    per_day: dict[str, int] = field(default_factory=dict)
    per_minute: dict[str, int] = field(default_factory=dict)

    def set(self, assignment: str) -> None:
        """Apply one `name=value`; `day:/path=value` and `minute:/path=value` override an API's quota."""
        name, _, value = assignment.partition("=")
        if not value.isdigit():
            raise ValueError(f"a limit looks like name=number, not {assignment!r}")
        if name.startswith("day:"):
            self.per_day[name.removeprefix("day:")] = int(value)
        elif name.startswith("minute:"):
            self.per_minute[name.removeprefix("minute:")] = int(value)
        elif isinstance(getattr(self, name, None), int):
            setattr(self, name, int(value))
        else:
            raise ValueError(f"there is no limit called {name!r}")


@dataclass
class Account:
    """One verified service account and its developer settings."""

    app_id: str
    app_secret: str
    token: str
    aes_key: str
    original_id: str
    name: str = "圈码体验号"
    callback_url: str = ""
    mode: Mode = Mode.SECURE
    public_url: str = "http://127.0.0.1:8001"
    oauth_domain: str = ""
    ip_whitelist: list[str] | None = None  # None: the whitelist is switched off
    limits: Limits = field(default_factory=Limits)

    @property
    def openid_prefix(self) -> str:
        """The openids of one account begin alike, as on the platform."""
        return "o" + base64.urlsafe_b64encode(hashlib.sha256(self.app_id.encode()).digest()).decode()[:6]


IDENTITY = ("app_id", "app_secret", "token", "aes_key", "original_id")


def identity(home: Path, given: dict[str, str | None]) -> dict[str, str]:
    """The account's credentials: what was given, else what this home used before, else new ones.

    They are kept in `account.json`, so that a restart serves the same account.
    """
    file = home / "account.json"
    known: dict[str, str] = strict(file.read_bytes()) if file.exists() else {}
    made = {
        "app_id": "wx" + secrets.token_hex(8),
        "app_secret": secrets.token_hex(16),
        "token": _random(24),
        "aes_key": base64.b64encode(secrets.token_bytes(32), altchars=b"ab").decode().rstrip("="),
        "original_id": "gh_" + secrets.token_hex(6),
    }
    chosen = {name: given.get(name) or known.get(name) or made[name] for name in IDENTITY}
    if chosen != known:
        draft = file.with_suffix(".next")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(compact(chosen))
        draft.replace(file)
    return chosen


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))
