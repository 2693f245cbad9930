"""The pages: one Flask application, put together once per process."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from bot.inbox import Inbox
from core.runtime import Runtime
from web import (
    assets,
    benefit_words,
    broadcast_words,
    errors,
    formats,
    forms,
    health,
    jobs,
    language,
    merchant,
    navigation,
    operator,
    owner,
    register,
    rule_words,
    security,
    site,
)
from web.auth import access, binding, pages, scan, wechat
from web.auth import owner as owner_door
from web.auth import second_factor as second_factor_pages
from web.callback import CallbackEdge, create_callback
from web.context import RUNTIME


def create_app(runtime: Runtime, *, proxies: int = 0) -> Flask:
    """Every page over this runtime. `proxies`: how many servers of ours stand in front and say who asks."""
    app = Flask(__name__)
    app.extensions[RUNTIME] = runtime
    if proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    # The order is that of a request: measured, protected, then let in.
    health.register(app)
    security.register(app, runtime)
    access.register(app)
    owner_door.register(app)
    language.register(app)
    formats.register(app)
    forms.register(app)
    navigation.register(app)
    assets.register(app)
    errors.register(app)
    jobs.register(app)
    for room in (pages, scan, wechat, binding, second_factor_pages):
        app.register_blueprint(room.blueprint)
    register.register(app)
    broadcast_words.register(app)
    benefit_words.register(app)
    rule_words.register(app)
    operator.register(app)
    merchant.register(app)
    site.register(app)
    owner.register(app)
    add_callback(app, runtime)
    access.refuse_unmarked(app)
    return app


def add_callback(app: Flask, runtime: Runtime) -> None:
    """The platform's callback, for set-ups where these pages stand alone, without the front."""
    edge = CallbackEdge(runtime.settings, runtime.now)
    blueprint = create_callback(edge, Inbox(runtime))
    security.csrf.exempt(blueprint)
    app.register_blueprint(blueprint)
    access.public(app.view_functions[f"{security.CALLBACK}.callback"])
