"""Addresses of static files that browsers may keep for good, because a changed file has another address."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from flask import Flask, Response, redirect, request
from flask.typing import ResponseReturnValue

from web.auth.access import public

STATIC = Path(__file__).parent / "static"
VENDORED = "/static/vendor/"


def register(app: Flask) -> None:
    """Make `asset` and `vendored` known to templates, and let browsers keep what they name."""
    app.add_template_global(asset)
    app.add_template_global(vendored)
    app.after_request(let_keep)
    app.add_url_rule("/favicon.ico", view_func=favicon)


@public
def favicon() -> ResponseReturnValue:
    """Where browsers look by themselves on pages that name no icon."""
    return redirect(asset("logo.svg"))


@cache
def asset(name: str) -> str:
    """A file of our own, with the start of its hash."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def vendored(library: str, name: str) -> str:
    """A file of a library; its folder names the version."""
    return f"{VENDORED}{library}-{versions()[library]}/{name}"


@cache
def versions() -> dict[str, str]:
    """Which version of each library was copied."""
    locked: dict[str, dict[str, str]] = json.loads((STATIC / "vendor" / "vendor.lock.json").read_text("utf-8"))
    return locked["versions"]


def let_keep(response: Response) -> Response:
    """A year for addresses that change with the content."""
    if request.endpoint == "static" and (request.path.startswith(VENDORED) or "v" in request.args):
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
