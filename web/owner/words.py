"""Words of the owners' pages, as template filters."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask import Flask
from flask_babel import gettext as _

from core.clock import business_day, start_of_day
from web.formats import day, short_time


def register(app: Flask) -> None:
    """Make them known to templates."""
    app.add_template_filter(until)


def until(moment: datetime) -> str:
    """The last day of something that ends with a day, else the moment: 12月23日 周三止, 今天 14:30 前."""
    today = business_day(moment)
    if start_of_day(today) == moment:
        return str(_("%(day)s止", day=day(today - timedelta(days=1))))
    return str(_("%(time)s 前", time=short_time(moment)))
