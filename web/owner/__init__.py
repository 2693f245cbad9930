"""The owners' pages below `/m/`, opened inside WeChat. Every view asks the database as the person it serves."""

from __future__ import annotations

from flask import Flask

from web.owner import coupons, directory, home, invites, jssdk, notices, points, privacy, settings, shops, words


def register(app: Flask) -> None:
    """Put the owners' pages into the application."""
    words.register(app)
    for room in (home, coupons, points, shops, settings, privacy, jssdk, invites, directory, notices):
        app.register_blueprint(room.blueprint)
