"""The operator's pages: one file per subject, all below /operator."""

from __future__ import annotations

from flask import Blueprint, Flask

from web.operator import (
    approvals,
    audit,
    batches,
    benefit_exports,
    benefits,
    broadcast_report,
    broadcasts,
    codes,
    conversation,
    coupon_approvals,
    desk,
    desk_words,
    digests,
    directory,
    events,
    followers,
    health,
    insights,
    jobs,
    ledgers,
    menu,
    merchants,
    notices,
    queues,
    quota,
    referrals,
    reply_rules,
    rows,
    rule_approvals,
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
    desk_words,
    broadcasts,
    broadcast_report,
    benefits,
    benefit_exports,
    referrals,
    ledgers,
    digests,
    directory,
    notices,
    events,
    followers,
    unmatched,
    menu,
    conversation,
    queues,
    reply_rules,
    rule_approvals,
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
    directory.register(app)
    notices.register(app)
    app.add_template_global(desk.here)
    app.add_template_global(spans.rows_path)
    blueprint = Blueprint("operator", __name__, url_prefix="/operator")
    for subject in SUBJECTS:
        blueprint.register_blueprint(subject.blueprint)
    app.register_blueprint(blueprint)
