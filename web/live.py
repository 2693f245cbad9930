"""Pages that keep themselves up to date: their living part asks for itself again every few seconds and is answered
304 while it still looks the same. No connection is held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any

from flask import Response, make_response, render_template, request
from markupsafe import Markup

EVERY = timedelta(seconds=3)


def live_page(
    page: str,
    part: str,
    /,
    *,
    is_polling: bool = True,
    every: timedelta = EVERY,
    etag: str | None = None,
    around: Callable[[], Mapping[str, object]] = dict,
    **context: Any,
) -> Response:
    """`page` with `part` inside as `living`, or the part alone for the part's own question.

    `around` computes what only the page around the part shows; the part's own questions never make it.

    What the part looks like is its ETag, so nothing in it may change by itself: no form tokens, no "2 minutes ago".
    A page that knows more cheaply whether it has changed gives its own.
    """
    # Data inside the part needs no nonce, and the nonce would make every answer another one.
    inside = render_template(part, csp_nonce="", **context)
    etag = etag or etag_of(inside)
    if has_seen(etag):
        response = make_response("", 304)
    else:
        frame = render_template(
            "macros/live.html",
            inside=Markup(inside),  # noqa: S704  a template of ours, escaped when it was rendered
            etag=etag,
            seconds=int(every.total_seconds()),
            is_polling=is_polling,
        )
        living = Markup(frame)  # noqa: S704
        response = make_response(
            living if asks_for_part() else render_template(page, living=living, **context, **around())
        )
    response.headers["ETag"] = etag
    response.headers["Vary"] = "HX-Request"
    return response


def etag_of(*seen: object) -> str:
    """The ETag of what a part shows."""
    return f'"{sha256(repr(seen).encode()).hexdigest()[:32]}"'


def asks_for_part() -> bool:
    """Whether the part asks for itself; if not, somebody opens the page."""
    return request.headers.get("HX-Request") == "true"


def has_seen(etag: str) -> bool:
    """The part asks, and shows this already."""
    return asks_for_part() and request.headers.get("If-None-Match") == etag
