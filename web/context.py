"""What a view may ask for at any time: the runtime, and the moment this request happens at."""

from __future__ import annotations

from datetime import datetime
from typing import cast
from urllib.parse import quote

from flask import current_app, g

from core.runtime import Runtime
from merchants.wording import link_hosts

RUNTIME = "quanma"


def current_runtime() -> Runtime:
    """The one wiring, as `create_app` was given it."""
    return cast(Runtime, current_app.extensions[RUNTIME])


def now() -> datetime:
    """The application's time, read once a request, so that one page never shows two of them."""
    if "now" not in g:
        g.now = current_runtime().now()
    return cast(datetime, g.now)


def own_hosts() -> frozenset[str]:
    """Where links may lead that people write here: to our own pages, and where the platform's articles are."""
    return link_hosts(current_runtime().settings.public_url)


def sandbox_phone(code_url: str) -> str | None:
    """Where the sandbox's phone scans this code; None with a real account."""
    settings = current_runtime().settings
    return f"{settings.wechat_open_url}/?scan={quote(code_url, safe='')}" if settings.is_sandbox else None
