"""便民电话: whom neighbours may call, in categories; in the operator's order, and as a table."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response, flash, g, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints
from sqlalchemy.orm import Session

from community.directory import sheet, writing
from community.directory.finding import PAID
from community.directory.models import DirectoryEntry
from community.directory.phones import dialled, shown
from community.directory.writing import Draft
from core import sheets
from core.clock import business_day
from core.database import Role
from core.errors import Invalid, NotFound
from merchants import merchants
from web.acts import record
from web.auth.access import operator_required
from web.context import now
from web.exports import Rows, csv_answer, rows_from
from web.forms import Form, OneLine, OptionalLine, Submission, blank, read_form, the_file
from web.language import refusal_text
from web.operator.desk import PAGE, account, here
from web.query import Id, Query, Words, id_of, read_query
from web.security import upload_cap

blueprint = Blueprint("directory", __name__, url_prefix="/directory")

HOME = "/operator/directory"
ENTRY = "/<int:entry_id>"
CATEGORY = "/categories/<int:category_id>"
WAY = "/move/<any(up, down):way>"
Tick = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{0,17}$")]


class EntriesQuery(Query):
    """Which entries."""

    q: Words = ""
    category: Id | None = None
    after: Id | None = None


class NewQuery(Query):
    """Where a new entry is to stand."""

    category: Id | None = None


class CategoryForm(Form):
    """A category and the other words for it."""

    name: OneLine
    aliases: Annotated[str, StringConstraints(strip_whitespace=True, max_length=300)] = ""


class EntryForm(Form):
    """Everything that is said of an entry."""

    category: Tick
    name: OneLine
    phone: OneLine
    what: OptionalLine = ""
    hours: OptionalLine = ""
    address: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")
    ] = ""
    communities: tuple[Tick, ...] = ()
    merchant: OptionalLine = ""
    paid_from: OptionalLine = ""
    paid_until: OptionalLine = ""


class FileForm(Form):
    """The file is not a field."""


def register(app: Any) -> None:
    """Make the words of phone numbers known to templates."""
    app.add_template_filter(shown, "phone_words")
    app.add_template_filter(dialled, "phone_dialled")


@blueprint.get("")
@operator_required
def index() -> str:
    """Categories beside entries."""
    return _page(blank())


@blueprint.post("/categories")
@operator_required
def add_category() -> ResponseReturnValue:
    """One more category, at the end."""
    form = read_form(CategoryForm)
    if form.data is not None:
        try:
            category_id = writing.add_category(
                g.session, account_id=account().id, name=form.data.name, aliases=form.data.aliases
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("directory.category", f"directory_category:{category_id}")
            return redirect(f"{HOME}?category={category_id}", 303)
    return _page(form), 422


@blueprint.post("/categories/usual")
@operator_required
def add_usual() -> ResponseReturnValue:
    """Begin with what most neighbourhoods have."""
    added = writing.add_usual(g.session, account_id=account().id)
    record("directory.category", added=added)
    flash(_("放好了 %(count)s 个分类。", count=added), "good")
    return redirect(HOME, 303)


@blueprint.post(CATEGORY)
@operator_required
def edit_category(category_id: int) -> ResponseReturnValue:
    """Another name, other words for it."""
    writing.category(g.session, account_id=account().id, category_id=category_id)
    form = read_form(CategoryForm)
    if form.data is not None:
        try:
            writing.edit_category(
                g.session,
                account_id=account().id,
                category_id=category_id,
                name=form.data.name,
                aliases=form.data.aliases,
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("directory.category", f"directory_category:{category_id}")
            return _saved(f"?category={category_id}")
    return _page(blank(), edited=(category_id, form)), 422


@blueprint.post(f"{CATEGORY}{WAY}")
@operator_required
def move_category(category_id: int, way: str) -> ResponseReturnValue:
    """One place up or down."""
    writing.move_category(g.session, account_id=account().id, category_id=category_id, by=_by(way))
    record("directory.move", f"directory_category:{category_id}")
    return redirect(HOME, 303)


@blueprint.post(f"{CATEGORY}/remove")
@operator_required
def remove_category(category_id: int) -> ResponseReturnValue:
    """An empty category goes."""
    writing.remove_category(g.session, account_id=account().id, category_id=category_id)
    record("directory.category", f"directory_category:{category_id}")
    return redirect(HOME, 303)


@blueprint.get("/new")
@operator_required
def new() -> str:
    """An empty entry."""
    return _entry_page(blank(category=read_query(NewQuery).category))


@blueprint.post("/new")
@operator_required
def add() -> ResponseReturnValue:
    """One more entry."""
    form = read_form(EntryForm)
    if form.data is not None:
        try:
            entry_id = writing.add(g.session, account_id=account().id, draft=_draft(form.data), now=now())
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("directory.entry", f"directory_entry:{entry_id}")
            return _saved(f"?category={form.data.category}")
    return _entry_page(form), 422


@blueprint.get(ENTRY)
@operator_required
def edit(entry_id: int) -> str:
    """One entry, to be changed."""
    entry = writing.entry(g.session, account_id=account().id, entry_id=entry_id)
    names = merchants.names_of(g.session, {entry.merchant_id})
    form = blank(
        category=entry.category_id,
        name=entry.name,
        phone=shown(entry.phone),
        what=entry.what,
        hours=entry.hours,
        address=entry.address,
        merchant=names.get(entry.merchant_id or 0, ""),
        paid_from=f"{business_day(entry.paid_from)}" if entry.paid_from else "",
        paid_until=sheet.last_day(entry.paid_until),
    )
    return _entry_page(form, entry, served=writing.serves(g.session, entry_ids=[entry_id]).get(entry_id, []))


@blueprint.post(ENTRY)
@operator_required
def save(entry_id: int) -> ResponseReturnValue:
    """Everything that is said of it, anew."""
    entry = writing.entry(g.session, account_id=account().id, entry_id=entry_id)
    form = read_form(EntryForm)
    if form.data is not None:
        try:
            draft = _draft(form.data, is_on=entry.is_on)
            writing.edit(g.session, account_id=account().id, entry_id=entry_id, draft=draft, now=now())
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("directory.entry", f"directory_entry:{entry_id}")
            return _saved(f"?category={form.data.category}")
    return _entry_page(form, entry), 422


@blueprint.post(f"{ENTRY}{WAY}")
@operator_required
def move(entry_id: int, way: str) -> ResponseReturnValue:
    """One place up or down within its category."""
    entry = writing.entry(g.session, account_id=account().id, entry_id=entry_id)
    writing.move(g.session, account_id=account().id, entry_id=entry_id, by=_by(way))
    record("directory.move", f"directory_entry:{entry_id}")
    return redirect(f"{HOME}?category={entry.category_id}#entry-{entry_id}", 303)


@blueprint.post(f"{ENTRY}/<any(on, off):switch>")
@operator_required
def switch(entry_id: int, switch: str) -> ResponseReturnValue:
    """Show it, or keep it back; the other button undoes this one."""
    entry = writing.entry(g.session, account_id=account().id, entry_id=entry_id)
    writing.switch(g.session, account_id=account().id, entry_id=entry_id, is_on=switch == "on", now=now())
    record(f"directory.{switch}", f"directory_entry:{entry_id}")
    return redirect(f"{HOME}?category={entry.category_id}#entry-{entry_id}", 303)


@blueprint.post(f"{ENTRY}/remove")
@operator_required
def remove(entry_id: int) -> ResponseReturnValue:
    """Gone for good."""
    entry = writing.entry(g.session, account_id=account().id, entry_id=entry_id)
    name, category_id = entry.name, entry.category_id
    writing.remove(g.session, account_id=account().id, entry_id=entry_id)
    record("directory.remove", f"directory_entry:{entry_id}")
    flash(_("已删除“%(name)s”。", name=name), "good")
    return redirect(f"{HOME}?category={category_id}", 303)


@blueprint.get("/import")
@operator_required
def bring() -> str:
    """Where a table is uploaded."""
    return _import_page(blank())


@blueprint.post("/import")
@operator_required
@upload_cap(sheets.MOST_BYTES)
def take() -> ResponseReturnValue:
    """Take a table whole, or tell what is wrong in which line."""
    form = read_form(FileForm)
    taken = None
    try:
        table = sheets.read(the_file(), most_rows=sheet.MOST_ROWS)
        taken = sheet.take(g.session, table, account_id=account().id, now=now())
        if not taken.faulty:
            record("directory.import", added=taken.added, changed=taken.changed)
            flash(
                _(
                    "新增 %(added)s 条，更新 %(changed)s 条，新建分类 %(categories)s 个。",
                    added=taken.added,
                    changed=taken.changed,
                    categories=taken.categories,
                ),
                "good",
            )
            return redirect(HOME, 303)
    except Invalid as refusal:
        form.errors["file"] = refusal_text(refusal)
    return _import_page(form, taken), 422


@blueprint.get("/template.csv")
@operator_required
def template_file() -> Response:
    """An example to fill in."""
    return csv_answer(_("便民电话模板"), sheet.COLUMNS, sheet.EXAMPLES)


@blueprint.post("/export")
@operator_required
def export() -> Response:
    """The whole directory, in the form in which it can be brought back."""
    account_id = account().id
    record("export", "directory")

    def rows(session: Session) -> Rows:
        return sheet.rows(session, account_id=account_id)

    return csv_answer(_("便民电话"), sheet.COLUMNS, rows_from(rows, role=Role.PLATFORM))


def _by(way: str) -> int:
    return -1 if way == "up" else 1


def _saved(query: str = "") -> ResponseReturnValue:
    flash(_("已保存。"), "good")
    return redirect(HOME + query, 303)


def _draft(data: EntryForm, *, is_on: bool = True) -> Draft:
    merchant_id = None
    if data.merchant:
        try:
            merchant_id = merchants.find(g.session, account_id=account().id, wanted=data.merchant).id
        except Invalid as refusal:
            raise Invalid(refusal.template, field="merchant") from None
        except NotFound:
            raise Invalid("没有这家商户。", field="merchant") from None
    return Draft(
        name=data.name,
        phone=data.phone,
        category_id=int(data.category),
        what=data.what,
        hours=data.hours,
        address=data.address,
        community_ids=tuple(int(one) for one in data.communities),
        paid_from=sheet.day(data.paid_from, sheet.PAID_FROM, name="paid_from"),
        paid_until=sheet.day(data.paid_until, sheet.PAID_UNTIL, name="paid_until", last=True),
        merchant_id=merchant_id,
        is_on=is_on,
    )


def _page(form: Submission[Any], *, edited: tuple[int, Submission[Any]] | None = None) -> str:
    wanted = read_query(EntriesQuery) if request.method == "GET" else EntriesQuery()
    ours = account().id
    found = writing.listed(
        g.session, account_id=ours, search=wanted.q, category_id=wanted.category, after=wanted.after, limit=PAGE + 1
    )
    entries = found[:PAGE]
    categories = writing.listed_categories(g.session, account_id=ours)
    return render_template(
        "operator/directory.html",
        wanted=wanted,
        categories=[
            (one, count, edited[1] if edited and edited[0] == one.id else blank(name=one.name,
                                                                               aliases=" ".join(one.aliases)),
             bool(edited and edited[0] == one.id))
            for one, count in categories
        ],
        current=next((one for one, _count in categories if one.id == wanted.category), None),
        names={one.id: one.name for one, _count in categories},
        total=sum(count for _one, count in categories),
        entries=entries,
        paid={entry.id: _paid_words(entry) for entry in entries},
        served=writing.serves(g.session, entry_ids=[entry.id for entry in entries]),
        communities={one.id: one.name for one in merchants.list_communities(g.session, account_id=ours)},
        shops=merchants.names_of(g.session, {entry.merchant_id for entry in entries}),
        first=here(after=None) if wanted.after else None,
        older=here(after=entries[-1].id) if len(found) > PAGE else None,
        form=form,
    )  # fmt: skip


def _paid_words(entry: DirectoryEntry) -> tuple[str, str]:
    """How a paid position stands, and the tone of that."""
    if entry.paid_from is None or entry.paid_until is None:
        return "", ""
    until = sheet.last_day(entry.paid_until)
    if entry.paid_until <= now():
        return _("推广已结束（%(day)s）", day=until), ""
    if entry.paid_from > now():
        return _("%(since)s 起推广", since=f"{business_day(entry.paid_from)}"), "wait"
    return _("%(label)s到 %(day)s", label=PAID, day=until), "info"


def _entry_page(form: Submission[Any], entry: DirectoryEntry | None = None, *, served: list[int] | None = None) -> str:
    ours = account().id
    ticked = served or []
    if request.method == "POST":
        ticked = [number for one in request.form.getlist("communities") if (number := id_of(one)) is not None]
    return render_template(
        "operator/directory_entry.html",
        form=form,
        entry=entry,
        categories=[(one.id, one.name) for one, _count in writing.listed_categories(g.session, account_id=ours)],
        communities=merchants.list_communities(g.session, account_id=ours),
        ticked=ticked,
        names=[one.name for one in merchants.list_merchants(g.session, account_id=ours, limit=500).merchants],
    )


def _import_page(form: Submission[Any], taken: sheet.Taken | None = None) -> str:
    return render_template(
        "operator/directory_import.html",
        form=form,
        columns=sheet.COLUMNS,
        faulty=[(line, [refusal_text(fault) for fault in line.faults]) for line in taken.faulty] if taken else [],
        most=sheet.MOST_ROWS,
    )
