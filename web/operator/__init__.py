"""The operator's pages: one file per subject, all below /operator."""

from __future__ import annotations

from flask import Blueprint, Flask

from web.operator import (
    approvals,
    audit,
    batches,
    benefits,
    broadcast_report,
    broadcasts,
    codes,
    coupon_approvals,
    desk,
    digests,
    events,
    followers,
    health,
    insights,
    jobs,
    ledgers,
    menu,
    merchants,
    queues,
    quota,
    referrals,
    rows,
    rules,
    settings,
    spans,
    standing,
    team,
    traffic,
    traffic_exports,
    unmatched,
    wording,
    words,
)

SUBJECTS = (
    traffic,
    insights,
    rows,
    traffic_exports,
    standing,
    merchants,
    quota,
    batches,
    codes,
    approvals,
    coupon_approvals,
    broadcasts,
    broadcast_report,
    benefits,
    referrals,
    ledgers,
    digests,
    events,
    followers,
    unmatched,
    menu,
    queues,
    health,
    audit,
    jobs,
    rules,
    wording,
    team,
    settings,
)


def register(app: Flask) -> None:
    """Add the pages and the words they use."""
    words.register(app)
    app.add_template_global(desk.here)
    app.add_template_global(spans.rows_path)
    blueprint = Blueprint("operator", __name__, url_prefix="/operator")
    for subject in SUBJECTS:
        blueprint.register_blueprint(subject.blueprint)
    app.register_blueprint(blueprint)
