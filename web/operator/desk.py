"""What operator pages share: the account and the page of a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

from flask import g, request
from sqlalchemy import select

from core.errors import NotFound
from merchants.models import OfficialAccount
from web.context import current_runtime

Row = TypeVar("Row")
PAGE = 50


def account() -> OfficialAccount:
    """The account of this installation."""
    app_id = current_runtime().settings.wechat_app_id
    found: OfficialAccount | None = g.session.scalar(select(OfficialAccount).where(OfficialAccount.app_id == app_id))
    if found is None:
        raise NotFound("还没有登记公众号，请先执行 quanma migrate。")
    return found


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of a list, and the addresses of its newest and its next page."""

    rows: Sequence[Row]
    newest: str | None
    older: str | None


def page_of(rows: Sequence[Row], key: Callable[[Row], int], *, size: int = PAGE) -> Page[Row]:
    """A page of `size` rows out of at most one more, which says that there is a next page."""
    shown = rows[:size]
    newest = here(before=None) if "before" in request.args else None
    return Page(shown, newest, here(before=key(shown[-1])) if len(rows) > size else None)


def here(**changes: object) -> str:
    """This page's address with some of its conditions changed; None takes one away."""
    query = {name: value for name, value in request.args.items() if value}
    for name, value in changes.items():
        query.pop(name, None)
        if value is not None:
            query[name] = str(value)
    return f"{request.path}?{urlencode(query)}" if query else request.path
