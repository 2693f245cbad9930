"""What anybody may see: the community with its merchants, one code's page, and pictures.

Asked as the fan role without a follower: active merchants and codes, and nothing about people.
"""

from __future__ import annotations

from flask import Flask

from web.site import community, pictures, shopfront, short_links


def register(app: Flask) -> None:
    """Put the public pages into the application."""
    for room in (community, shopfront, pictures, short_links):
        app.register_blueprint(room.blueprint)
