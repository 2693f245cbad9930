"""自动回复 of the platform: what the account answers everybody by itself, where no shop's own rule does."""

from __future__ import annotations

from flask import Blueprint, g
from flask.typing import ResponseReturnValue

from bot.rules.writing import Author
from core import sheets
from web import reply_rules
from web.auth.access import limit_acts, operator_required
from web.operator.desk import account
from web.reply_rules import Room
from web.security import limiter, upload_cap

blueprint = Blueprint("reply_rules", __name__, url_prefix="/reply-rules")
limit_acts(blueprint)

ONE = "/<int:reply_rule_id>"


def _author() -> Author:
    return Author(account().id, operator_id=g.staff.id)


def _no_picture(picture_id: object) -> None:
    """The platform has no pictures."""


ROOM = Room("/operator/reply-rules", "operator/reply_rules.html", "layouts/operator.html", _author, _no_picture)


@blueprint.get("")
@operator_required
def index() -> str:
    """The platform's rules."""
    return reply_rules.index(ROOM)


@blueprint.get("/new")
@operator_required
def new() -> str:
    """An empty form."""
    return reply_rules.new(ROOM)


@blueprint.post("")
@operator_required
def create() -> ResponseReturnValue:
    """Put a new rule in force."""
    return reply_rules.create(ROOM)


@blueprint.get("/try")
@operator_required
def try_out() -> str:
    """What would happen if somebody sent this."""
    return reply_rules.try_out(ROOM)


@blueprint.get("/table")
@operator_required
def table() -> str:
    """All rules at once, in a spreadsheet."""
    return reply_rules.table(ROOM)


@blueprint.post("/table")
@operator_required
@upload_cap(sheets.MOST_BYTES)
@limiter.limit("10 per minute")
def bring_in() -> ResponseReturnValue:
    """Add the rules of a table."""
    return reply_rules.bring_in(ROOM)


@blueprint.post("/table/export")
@operator_required
def export() -> ResponseReturnValue:
    """The rules as a table."""
    return reply_rules.export(ROOM)


@blueprint.get("/table/example")
@operator_required
def example() -> ResponseReturnValue:
    """A table to begin with."""
    return reply_rules.example()


@blueprint.get(ONE)
@operator_required
def edit(reply_rule_id: int) -> str:
    """The form of a rule."""
    return reply_rules.edit(ROOM, reply_rule_id)


@blueprint.post(ONE)
@operator_required
def change(reply_rule_id: int) -> ResponseReturnValue:
    """Put the new words in force."""
    return reply_rules.change(ROOM, reply_rule_id)


@blueprint.post(f"{ONE}/switch")
@operator_required
def switch(reply_rule_id: int) -> ResponseReturnValue:
    """Let it answer, or not."""
    return reply_rules.switch(ROOM, reply_rule_id)


@blueprint.post(f"{ONE}/order")
@operator_required
def order(reply_rule_id: int) -> ResponseReturnValue:
    """Ask it sooner, or later."""
    return reply_rules.order(ROOM, reply_rule_id)


@blueprint.post(f"{ONE}/copy")
@operator_required
def copy(reply_rule_id: int) -> ResponseReturnValue:
    """Begin another one with its words."""
    return reply_rules.copy(ROOM, reply_rule_id)


@blueprint.post(f"{ONE}/delete")
@operator_required
def delete(reply_rule_id: int) -> ResponseReturnValue:
    """Take it away, for a week not for good."""
    return reply_rules.delete(ROOM, reply_rule_id)


@blueprint.post(f"{ONE}/restore")
@operator_required
def restore(reply_rule_id: int) -> ResponseReturnValue:
    """Bring it back."""
    return reply_rules.restore(ROOM, reply_rule_id)
