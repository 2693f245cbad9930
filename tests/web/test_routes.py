"""Who may call what, route by route, as reviewed in routes.txt (AU-8)."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

from core.database import Role
from merchants.models import StaffRole
from web.auth.access import access_of

REVIEWED = Path(__file__).with_name("routes.txt")


def matrix(app: Flask) -> list[str]:
    """One line per route and method: who may call it, and as whom it asks the database."""
    lines = []
    for rule in app.url_map.iter_rules():
        access = access_of(app.view_functions[rule.endpoint])
        assert access is not None, f"{rule.endpoint} does not say who may call it"
        who = " ".join(role for role in StaffRole if role in access.roles) or access.owners or "public"
        database = access.database.removeprefix("quanma_") if access.database else "-"
        methods = ",".join(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}))
        lines.append(f"{rule.rule:<60} {methods:<8} {who:<28} {database}".rstrip())
    return sorted(lines)


def test_the_matrix_is_the_reviewed_one(app: Flask) -> None:
    """To change routes.txt: look at each line that differs, then write what you agree with."""
    reviewed = [line for line in REVIEWED.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert matrix(app) == reviewed


def test_nobody_reaches_a_room_of_others(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        access = access_of(app.view_functions[rule.endpoint])
        assert access is not None
        if rule.rule.startswith("/operator"):
            assert access.roles == {StaffRole.OPERATOR}, rule.rule
        if rule.rule.startswith("/merchant"):
            assert access.roles
            assert access.roles <= {StaffRole.OWNER, StaffRole.CLERK}, rule.rule
            assert access.database is Role.MERCHANT, rule.rule
        assert access.owners is None or (rule.rule.startswith("/m/") and access.database is Role.FAN), rule.rule


def test_get_is_for_looking(app: Flask) -> None:
    """A view that answers both would sooner or later change something on GET."""
    for rule in app.url_map.iter_rules():
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        assert len(methods) == 1 or rule.endpoint == "callback.callback", rule.rule
