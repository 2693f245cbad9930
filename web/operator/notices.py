"""公告: written, looked at, put up and taken down; who has read them; and the buildings they go to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from flask import Blueprint, Response, flash, g, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints
from sqlalchemy.orm import Session

from community.notices import buildings, counting, writing
from community.notices.models import Notice, NoticePicture, NoticeState
from community.notices.writing import Draft, Place
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from merchants import merchants, pictures
from merchants.pictures import Prepared
from qrcodes.codes import new_public_id
from web.acts import record
from web.auth.access import operator_required
from web.context import now, own_hosts
from web.exports import Rows, csv_answer, rows_from
from web.forms import Form, OneLine, OptionalLine, Paragraph, Submission, blank, moment_of, read_form, typed_moment
from web.language import refusal_text
from web.notice_words import linked
from web.operator.desk import PAGE, account, here, page_of
from web.query import Id, Query, Words, read_query
from web.security import upload_cap

blueprint = Blueprint("notices", __name__, url_prefix="/notices")

HOME = "/operator/notices"
ONE = "/<int:notice_id>"
BUILDING = "/buildings/<int:building_id>"
PLACE = re.compile(r"^([1-9]\d{0,17})(?:-([1-9]\d{0,17}))?$")
PlaceName = Annotated[str, StringConstraints(pattern=PLACE.pattern)]
Ticked = Annotated[str, StringConstraints(pattern=r"^true$")]


class NoticesQuery(Query):
    """Which notices."""

    q: Words = ""
    state: NoticeState | None = None
    before: Id | None = None


class NoticeForm(Form):
    """A notice as it is written."""

    title: OneLine
    words: Paragraph
    shown_from: OptionalLine = ""
    shown_until: OptionalLine = ""
    places: tuple[PlaceName, ...] = ()
    is_pinned: Ticked | None = None
    is_paid: Ticked | None = None
    keeps_picture: Annotated[str, StringConstraints(pattern=r"^([1-9]\d{0,17})?$")] = ""


class BuildingsForm(Form):
    """Names, one a line."""

    names: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000)]


class BuildingForm(Form):
    """What a building is called."""

    name: OneLine


def register(app: Any) -> None:
    """Make the words of notices known to templates."""
    app.add_template_filter(linked, "linked")


# ---- The list ----


@blueprint.get("")
@operator_required
def index() -> str:
    """All of them, the newest first."""
    wanted = read_query(NoticesQuery)
    found = writing.listed(
        g.session, account_id=account().id, state=wanted.state, search=wanted.q, before=wanted.before, limit=PAGE + 1
    )
    page = page_of(found, lambda notice: notice.id)
    states = [(_("全部"), here(state=None, before=None), wanted.state is None)]
    states += [(_state(state), here(state=state, before=None), wanted.state is state) for state in NoticeState]
    return render_template(
        "operator/notices.html",
        wanted=wanted,
        page=page,
        states=states,
        stands={one.id: stand(one) for one in page.rows},
        readers=counting.readers(g.session, notice_ids=[one.id for one in page.rows]),
        places={one.id: _places_words(one.id) for one in page.rows},
    )


@blueprint.post("/export")
@operator_required
def export() -> Response:
    """The list with reach and readers."""
    account_id = account().id
    record("export", "notices")
    heads = [_("编号"), _("标题"), _("状态"), _("推广"), _("从"), _("到"), _("现在能看到"), _("看过的人")]

    def rows(session: Session) -> Rows:
        for one in _all(session, account_id):
            counted = counting.count(session, notice_id=one.id)
            yield (
                one.id, one.title, stand(one)[0], _("是") if one.is_paid else "", one.shown_from, one.shown_until,
                counted.reached, counted.readers,
            )  # fmt: skip

    return csv_answer(_("公告"), heads, rows_from(rows, role=Role.PLATFORM))


def _all(session: Session, account_id: int) -> Iterator[Notice]:
    before: int | None = None
    while some := writing.listed(session, account_id=account_id, before=before, limit=500):
        yield from some
        before = some[-1].id


# ---- Writing ----


@blueprint.get("/new")
@operator_required
def new() -> str:
    """An empty notice, from now on."""
    return _form_page(blank(shown_from=typed_moment(now())))


@blueprint.post("/new")
@operator_required
@upload_cap(pictures.MAX_UPLOAD_BYTES)
def create() -> ResponseReturnValue:
    """Keep it as a draft and show what it will look like."""
    form = read_form(NoticeForm)
    if form.data is not None:
        try:
            notice_id = writing.create(
                g.session,
                account_id=account().id,
                draft=_draft(form.data),
                operator_id=g.staff.id,
                hosts=own_hosts(),
                now=now(),
            )
        except Invalid as refusal:
            _refuse(form, refusal)
        else:
            record("notice.write", f"notice:{notice_id}")
            return redirect(f"{HOME}/{notice_id}", 303)
    return _form_page(form), 422


@blueprint.get(f"{ONE}/edit")
@operator_required
def edit(notice_id: int) -> ResponseReturnValue:
    """Its words, to be changed; what is up has to be taken down first."""
    notice = _own(notice_id)
    if notice.state == NoticeState.PUBLISHED:
        raise writing.IsUp
    form = blank(
        title=notice.title,
        words=notice.words,
        shown_from=typed_moment(notice.shown_from),
        shown_until=typed_moment(notice.shown_until) if notice.shown_until else "",
        is_pinned=notice.is_pinned,
        is_paid=notice.is_paid,
        keeps_picture=notice.picture_id,
    )
    return _form_page(form, notice)


@blueprint.post(f"{ONE}/edit")
@operator_required
@upload_cap(pictures.MAX_UPLOAD_BYTES)
def save(notice_id: int) -> ResponseReturnValue:
    """Everything that is said in it, anew."""
    notice = _own(notice_id)
    form = read_form(NoticeForm)
    if form.data is not None:
        try:
            writing.edit(
                g.session,
                account_id=account().id,
                notice_id=notice_id,
                draft=_draft(form.data),
                hosts=own_hosts(),
                now=now(),
            )
        except Invalid as refusal:
            _refuse(form, refusal)
        else:
            record("notice.write", f"notice:{notice_id}")
            return redirect(f"{HOME}/{notice_id}", 303)
    return _form_page(form, notice), 422


# ---- One notice ----


@blueprint.get(ONE)
@operator_required
def show(notice_id: int) -> str:
    """As the phone shows it, whom it reaches, who has read it, and what may be done with it."""
    notice = _own(notice_id)
    return render_template(
        "operator/notice.html",
        notice=notice,
        stand=stand(notice),
        counted=counting.count(g.session, notice_id=notice_id),
        places=_places_words(notice_id),
        picture=g.session.get(NoticePicture, notice.picture_id) if notice.picture_id else None,
    )


@blueprint.post(f"{ONE}/publish")
@operator_required
def publish(notice_id: int) -> ResponseReturnValue:
    """Put it up, or up again: the way back from taking it down."""
    writing.publish(g.session, account_id=account().id, notice_id=notice_id, operator_id=g.staff.id, now=now())
    record("notice.publish", f"notice:{notice_id}")
    flash(_("已贴出。"), "good")
    return redirect(f"{HOME}/{notice_id}", 303)


@blueprint.post(f"{ONE}/withdraw")
@operator_required
def withdraw(notice_id: int) -> ResponseReturnValue:
    """Nobody sees it from now on."""
    writing.withdraw(g.session, account_id=account().id, notice_id=notice_id, now=now())
    record("notice.withdraw", f"notice:{notice_id}")
    flash(_("已撤下，没有人再看得到。点“重新贴出”就能恢复。"), "good")
    return redirect(f"{HOME}/{notice_id}", 303)


@blueprint.post(f"{ONE}/<any(pin, unpin):act_on_place>")
@operator_required
def pin(notice_id: int, act_on_place: str) -> ResponseReturnValue:
    """Above the others, or no more."""
    writing.pin(g.session, account_id=account().id, notice_id=notice_id, is_pinned=act_on_place == "pin")
    record(f"notice.{act_on_place}", f"notice:{notice_id}")
    return redirect(f"{HOME}/{notice_id}", 303)


@blueprint.post(f"{ONE}/remove")
@operator_required
def remove(notice_id: int) -> ResponseReturnValue:
    """A draft that is not wanted after all."""
    writing.throw_away(g.session, account_id=account().id, notice_id=notice_id)
    record("notice.remove", f"notice:{notice_id}")
    flash(_("草稿已删除。"), "good")
    return redirect(HOME, 303)


@blueprint.get("/pictures/<public_id>.jpg")
@operator_required
def picture(public_id: str) -> ResponseReturnValue:
    """The picture, before anybody else may see it."""
    found = writing.picture_of(g.session, public_id=public_id)
    if found is None:
        raise NotFound(_("没有这张图片。"))
    response = Response(found.content, mimetype=found.mime)
    response.set_etag(found.sha256.hex())
    return response.make_conditional(request)


# ---- Buildings ----


@blueprint.get("/buildings")
@operator_required
def all_buildings() -> str:
    """The list of every community."""
    return _buildings_page({})


@blueprint.post("/buildings/communities/<int:community_id>")
@operator_required
def add_buildings(community_id: int) -> ResponseReturnValue:
    """What is missing of a list."""
    buildings.community(g.session, account_id=account().id, community_id=community_id)
    form = read_form(BuildingsForm)
    if form.data is not None:
        try:
            added = buildings.add_many(
                g.session, account_id=account().id, community_id=community_id, names=form.data.names
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("building.add", f"community:{community_id}", added=added)
            flash(_("新增 %(count)s 栋楼。", count=added), "good")
            return redirect(f"{HOME}/buildings", 303)
    return _buildings_page({community_id: form}), 422


@blueprint.post(BUILDING)
@operator_required
def rename_building(building_id: int) -> ResponseReturnValue:
    """What its people call it."""
    building = buildings.one(g.session, account_id=account().id, building_id=building_id)
    form = read_form(BuildingForm)
    if form.data is not None:
        try:
            buildings.rename(g.session, account_id=account().id, building_id=building_id, name=form.data.name)
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("building.rename", f"building:{building_id}")
            return redirect(f"{HOME}/buildings", 303)
    names = blank()
    names.errors[""] = next(iter(form.errors.values()))
    return _buildings_page({building.community_id: names}), 422


@blueprint.post(f"{BUILDING}/remove")
@operator_required
def remove_building(building_id: int) -> ResponseReturnValue:
    """Off the list."""
    buildings.remove(g.session, account_id=account().id, building_id=building_id)
    record("building.remove", f"building:{building_id}")
    return redirect(f"{HOME}/buildings", 303)


def _buildings_page(refused: dict[int, Submission[Any]]) -> str:
    ours = account().id
    known = buildings.by_community(g.session, account_id=ours)
    return render_template(
        "operator/notice_buildings.html",
        communities=[
            (one, known.get(one.id, []), refused.get(one.id, blank()))
            for one in merchants.list_communities(g.session, account_id=ours)
        ],
        homes=buildings.people(g.session, account_id=ours),
    )


# ---- Parts ----


def stand(notice: Notice) -> tuple[str, str]:
    """How a notice stands for those it is meant for, and the tone of that."""
    if notice.state == NoticeState.PUBLISHED:
        if notice.shown_from > now():
            return _("到时贴出"), "wait"
        if notice.shown_until is not None and notice.shown_until <= now():
            return _("已到期"), ""
        return _("贴着"), "good"
    return _state(NoticeState(notice.state)), "bad" if notice.state == NoticeState.WITHDRAWN else ""


def _state(state: NoticeState) -> str:
    names = {
        NoticeState.DRAFT: _("草稿"), NoticeState.PUBLISHED: _("已发布"), NoticeState.WITHDRAWN: _("已撤下"),
    }  # fmt: skip
    return str(names[state])


def _own(notice_id: int) -> Notice:
    return writing.one(g.session, account_id=account().id, notice_id=notice_id)


def _draft(data: NoticeForm) -> Draft:
    kept = int(data.keeps_picture) if data.keeps_picture else None
    uploaded = _uploaded()
    if uploaded is not None:
        kept = writing.keep_picture(g.session, account_id=account().id, picture=uploaded, public_id=new_public_id())
    return Draft(
        title=data.title,
        words=data.words,
        shown_from=moment_of(data.shown_from, "shown_from") if data.shown_from else now(),
        shown_until=moment_of(data.shown_until, "shown_until") if data.shown_until else None,
        is_pinned=bool(data.is_pinned),
        is_paid=bool(data.is_paid),
        places=tuple(_place(one) for one in data.places),
        picture_id=kept,
    )


def _uploaded() -> Prepared | None:
    file = request.files.get("picture")
    if file is None or not file.filename:
        return None
    return pictures.prepare(file.stream.read())


def _place(name: str) -> Place:
    found = PLACE.match(name)
    assert found is not None  # noqa: S101
    return Place(int(found[1]), int(found[2]) if found[2] else None)


def _refuse(form: Submission[NoticeForm], refusal: BusinessError) -> None:
    form.errors[getattr(refusal, "field", "")] = refusal_text(refusal)


def _places_words(notice_id: int) -> str:
    """所有人, or the communities and buildings by name."""
    names = buildings.names_of_places(g.session, notice_id=notice_id)
    return "；".join(names) if names else str(_("所有人"))


def _form_page(form: Submission[Any], notice: Notice | None = None) -> str:
    ours = account().id
    known = buildings.by_community(g.session, account_id=ours)
    return render_template(
        "operator/notice_form.html",
        form=form,
        notice=notice,
        communities=[(one, known.get(one.id, [])) for one in merchants.list_communities(g.session, account_id=ours)],
        ticked=_ticked(notice),
        picture=g.session.get(NoticePicture, notice.picture_id) if notice and notice.picture_id else None,
    )


def _ticked(notice: Notice | None) -> Sequence[str]:
    if request.method == "POST":
        return request.form.getlist("places")
    places = writing.places_of(g.session, notice_id=notice.id) if notice else []
    return [
        f"{place.community_id}-{place.building_id}" if place.building_id else str(place.community_id)
        for place in places
    ]
