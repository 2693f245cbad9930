"""Words of the owners' pages about coupons, as template filters."""

from __future__ import annotations

from flask import Flask
from flask_babel import gettext

from campaigns.coupons import validity
from campaigns.coupons.validity import Line, Terms


def register(app: Flask) -> None:
    """Make them known to templates."""
    for name, filter_ in (
        ("coupon_headline", lambda terms: line(validity.headline(terms))),
        ("coupon_validity", lambda terms: line(validity.validity_line(terms))),
        ("coupon_terms", terms_of),
    ):
        app.add_template_filter(filter_, name)


def line(said: Line) -> str:
    """A sentence about a coupon, in the visitor's language."""
    return str(gettext(said.template, **said.detail))


def terms_of(terms: Terms) -> list[str]:
    """What a coupon promises, the benefit first."""
    return [line(one) for one in validity.describe(terms)]
