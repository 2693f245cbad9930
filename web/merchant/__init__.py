"""The merchants' pages, phone first. Every view asks the database as its merchant, which sees nothing of others."""

from __future__ import annotations

from flask import Flask

from web.merchant import (
    alliance,
    batches,
    broadcast_report,
    broadcasts,
    codes,
    coupons,
    fans,
    handovers,
    jobs,
    me,
    months,
    notices,
    pictures,
    points,
    quota,
    redemptions,
    referrals,
    rules,
    standing,
    talk_desk,
    talk_words,
    talks,
    till,
    today,
    welcome,
    words,
)


def register(app: Flask) -> None:
    """Put the merchants' pages into the application."""
    words.register(app)
    talk_words.register(app)
    for room in (
        today,
        notices,
        batches,
        codes,
        welcome,
        rules,
        fans,
        me,
        quota,
        standing,
        months,
        jobs,
        handovers,
        pictures,
        broadcasts,
        broadcast_report,
        referrals,
        coupons,
        till,
        redemptions,
        points,
        alliance,
        talks,
        talk_desk,
    ):
        app.register_blueprint(room.blueprint)
