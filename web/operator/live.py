"""Whether anything has happened since a page was shown, known before anything of the page is computed."""

from __future__ import annotations

from flask import Response, g, make_response, request
from flask_babel import get_locale

from bot.queries import state_of_affairs
from core.clock import business_day
from qrcodes import rollups
from web.context import now
from web.live import etag_of, has_seen


def fingerprint(*also: object) -> str:
    """The ETag of this address's page: it holds until an event comes in or is counted, somebody acts, the day ends."""
    state = (state_of_affairs(g.session), rollups.counted_at(g.session))
    return etag_of(request.full_path, str(get_locale()), business_day(now()), *state, *also)


def unchanged(etag: str) -> Response | None:
    """304 for a living part that shows this already."""
    if not has_seen(etag):
        return None
    response = make_response("", 304)
    response.headers["ETag"] = etag
    return response
