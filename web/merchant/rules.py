"""自动回复: what the account answers for a shop by itself, tried out before anybody asks, and carried as a table."""

from __future__ import annotations

from typing import Literal

from flask import Blueprint, g
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from bot.rules.models import USUAL_PRIORITY
from bot.rules.writing import Author
from core import sheets
from merchants.models import Merchant, StaffRole
from web import reply_rules
from web.auth.access import limit_acts, merchant_required
from web.forms import Submission, blank
from web.merchant.pictures import own_picture_url
from web.query import Query, read_query
from web.reply_rules import Room
from web.security import limiter, upload_cap

blueprint = Blueprint("merchant_rules", __name__, url_prefix="/merchant/rules")
limit_acts(blueprint)

ONE = "/<int:reply_rule_id>"
EXAMPLES = ("hours", "address", "phone")


class NewQuery(Query):
    """What to begin with."""

    example: Literal["hours", "address", "phone"] | None = None


def _author() -> Author:
    merchant = g.session.get_one(Merchant, g.staff.merchant_id)
    return Author(merchant.account_id, merchant_id=merchant.id)


ROOM = Room("/merchant/rules", "merchant/rules.html", "layouts/merchant.html", _author, own_picture_url)


@blueprint.get("")
@merchant_required()
def index() -> str:
    """The shop's rules, and three to begin with where there are none."""
    forms = {name: _example(name).values for name in EXAMPLES}
    return reply_rules.index(ROOM, examples=[(name, form["name"], form["text1"]) for name, form in forms.items()])


@blueprint.get("/new")
@merchant_required(StaffRole.OWNER)
def new() -> str:
    """An empty form, or an example made of the shop's card."""
    example = read_query(NewQuery).example
    return reply_rules.new(ROOM, None if example is None else _example(example))


def _example(name: str) -> Submission[reply_rules.RuleForm]:
    """A rule that most shops want, in the words of this shop's card as far as it has them."""
    shop = g.session.get_one(Merchant, g.staff.merchant_id)
    title, exact, contains, wildcard, said = {
        "hours": (
            _("营业时间"), "营业时间\n几点开门\n几点关门", "", "几点*门\n*开门吗",
            shop.hours and f"{shop.name}的营业时间：{shop.hours}",
        ),
        "address": (
            _("地址"), "地址\n在哪里\n店在哪", "怎么走", "", shop.address and f"{shop.name}在{shop.address}",
        ),
        "phone": (
            _("电话"), "联系方式\n手机号\n店里电话", "你们电话\n联系电话", "",
            shop.public_phone and f"{shop.name}的电话：{shop.public_phone}",
        ),
    }[name]  # fmt: skip
    return blank(
        name=title, exact=exact, contains=contains, wildcard=wildcard, kind1="text", text1=said, priority=USUAL_PRIORITY
    )


@blueprint.post("")
@merchant_required(StaffRole.OWNER)
def create() -> ResponseReturnValue:
    """Hand a new rule to the operator."""
    return reply_rules.create(ROOM)


@blueprint.get("/try")
@merchant_required()
def try_out() -> str:
    """What would happen if somebody sent this."""
    return reply_rules.try_out(ROOM)


@blueprint.get("/table")
@merchant_required(StaffRole.OWNER)
def table() -> str:
    """All rules at once, in a spreadsheet."""
    return reply_rules.table(ROOM)


@blueprint.post("/table")
@merchant_required(StaffRole.OWNER)
@upload_cap(sheets.MOST_BYTES)
@limiter.limit("10 per minute")
def bring_in() -> ResponseReturnValue:
    """Add the rules of a table."""
    return reply_rules.bring_in(ROOM)


@blueprint.post("/table/export")
@merchant_required(StaffRole.OWNER)
def export() -> ResponseReturnValue:
    """The rules as a table."""
    return reply_rules.export(ROOM)


@blueprint.get("/table/example")
@merchant_required(StaffRole.OWNER)
def example() -> ResponseReturnValue:
    """A table to begin with."""
    return reply_rules.example()


@blueprint.get(ONE)
@merchant_required(StaffRole.OWNER)
def edit(reply_rule_id: int) -> str:
    """The form of a rule."""
    return reply_rules.edit(ROOM, reply_rule_id)


@blueprint.post(ONE)
@merchant_required(StaffRole.OWNER)
def change(reply_rule_id: int) -> ResponseReturnValue:
    """Hand the new words to the operator; hours, name and priority count at once."""
    return reply_rules.change(ROOM, reply_rule_id)


@blueprint.post(f"{ONE}/switch")
@merchant_required(StaffRole.OWNER)
def switch(reply_rule_id: int) -> ResponseReturnValue:
    """Let it answer, or not."""
    return reply_rules.switch(ROOM, reply_rule_id)


@blueprint.post(f"{ONE}/order")
@merchant_required(StaffRole.OWNER)
def order(reply_rule_id: int) -> ResponseReturnValue:
    """Ask it sooner, or later."""
    return reply_rules.order(ROOM, reply_rule_id)


@blueprint.post(f"{ONE}/copy")
@merchant_required(StaffRole.OWNER)
def copy(reply_rule_id: int) -> ResponseReturnValue:
    """Begin another one with its words."""
    return reply_rules.copy(ROOM, reply_rule_id)


@blueprint.post(f"{ONE}/withdraw")
@merchant_required(StaffRole.OWNER)
def withdraw(reply_rule_id: int) -> ResponseReturnValue:
    """Take back what waits for the operator."""
    return reply_rules.withdraw(ROOM, reply_rule_id)


@blueprint.post(f"{ONE}/delete")
@merchant_required(StaffRole.OWNER)
def delete(reply_rule_id: int) -> ResponseReturnValue:
    """Take it away, for a week not for good."""
    return reply_rules.delete(ROOM, reply_rule_id)


@blueprint.post(f"{ONE}/restore")
@merchant_required(StaffRole.OWNER)
def restore(reply_rule_id: int) -> ResponseReturnValue:
    """Bring it back."""
    return reply_rules.restore(ROOM, reply_rule_id)
