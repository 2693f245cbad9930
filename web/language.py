"""Chinese first, English second: texts in code are Chinese and are their own translation."""

from __future__ import annotations

from flask import Blueprint, Flask, make_response, redirect, request
from flask.typing import ResponseReturnValue
from flask_babel import Babel, get_locale, gettext

from core.errors import BusinessError, Phrase
from web.auth.access import public
from web.context import current_runtime
from web.security import safe_path

LOCALES = {"zh": "zh_Hans_CN", "en": "en"}
COOKIE = "language"
YEAR_S = 365 * 24 * 3600

blueprint = Blueprint("language", __name__)


def register(app: Flask) -> None:
    """Choose a language for every request."""
    Babel(app, default_locale=LOCALES["zh"], default_timezone="Asia/Shanghai", locale_selector=choose)
    app.register_blueprint(blueprint)
    app.context_processor(lambda: {"language_tag": language_tag()})
    app.add_template_filter(phrase)


def choose() -> str:
    """What the visitor picked, else what their browser asks for, else Chinese."""
    wanted = [request.cookies.get(COOKIE, ""), *request.accept_languages.values()]
    known = (LOCALES[main] for tag in wanted if (main := tag.partition("-")[0].lower()) in LOCALES)
    return next(known, LOCALES["zh"])


def refusal_text(refusal: BusinessError) -> str:
    """What a refusal says, in the visitor's language."""
    values = {name: phrase(value) if isinstance(value, str) else value for name, value in refusal.detail.items()}
    return str(gettext(refusal.template, **values))


def phrase(text: str) -> str:
    """Words of ours in the visitor's language; what people typed stays as it is."""
    return str(gettext(text)) if isinstance(text, Phrase) else text


def language_tag() -> str:
    """For the page's lang attribute."""
    return "en" if str(get_locale()) == "en" else "zh-CN"


@blueprint.get("/language/<any(zh, en):name>")
@public
def pick(name: str) -> ResponseReturnValue:
    """Remember the visitor's language in their browser and go back to where they were."""
    response = make_response(redirect(safe_path(request.args.get("next"))))
    secure = current_runtime().settings.has_secure_cookies
    response.set_cookie(COOKIE, name, max_age=YEAR_S, httponly=True, samesite="Lax", secure=secure)
    return response
