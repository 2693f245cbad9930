"""消息: every customer's chat with this merchant, fresh within a second while it is open, and the answers to it.

List and thread are asked for again every second or two, and answered 304 by a few rows of the database while nothing
changed. Whatever is written carries a nonce, so that tapping twice sends once, and what was refused stays in its field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from flask import Blueprint, Response, flash, g, jsonify, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from limits import RateLimitItemPerMinute
from pydantic import StringConstraints
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.talks import answers, canned, media, reading, search, tending
from bot.talks.answers import Answer, CouponAnswer, PictureAnswer, TextAnswer
from bot.talks.models import AnswerState, ClosedBy, Enquiry, Kind, MediaState, TalkMedia, TalkState
from bot.talks.reading import Filter, Line, Page, Shown
from campaigns.coupons import templates
from core import nonces
from core.clock import business_day
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from merchants import pictures
from merchants.models import Staff, StaffRole
from qrcodes import fans
from qrcodes.happenings import Key
from web.acts import record
from web.auth.access import limit_acts, merchant_required
from web.context import current_runtime, now, own_hosts
from web.errors import wants_json
from web.exports import Cell, csv_answer, rows_from
from web.forms import PARAGRAPH, Form, Submission, blank, read_form
from web.language import refusal_text
from web.live import asks_for_part, etag_of, has_seen
from web.merchant import talk_words
from web.merchant.fans import TAG_SEPARATORS, FanForm
from web.merchant.talk_words import LONG_WAIT, WINDOW, ClockWords, clock_words, rating
from web.merchant.till import Nonce, giveable, new_nonce
from web.merchant.words import fan_number, show_refusal
from web.query import Id, Query, RowKey, Words, read_query
from web.security import limiter, upload_cap
from wechat.limits import TEXT_MAX_BYTES

blueprint = Blueprint("merchant_talks", __name__, url_prefix="/merchant/talks")
limit_acts(blueprint)

HOME = "/merchant/talks"
PAGE = 40
ENQUIRIES = 30
"""The latest stretches of a talk whose end is shown in it."""
PICTURES = RateLimitItemPerMinute(30, 10)
"""How many pictures one of the staff may send: thirty in ten minutes."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBER = re.compile(r"[0-9A-Za-z]{5}-?[0-9A-Za-z]{5}")
PLAYABLE = ("audio/mpeg", "audio/mp3", "audio/mp4", "audio/ogg", "audio/wav")
EXPORTED = 500
"""Rows of an export that are read at a time."""


class TooManyPictures(BusinessError):
    code = "too_many_pictures"
    status = 429
    message = "图片发得太多了：每人每 10 分钟最多 30 张。请歇一会儿再发，文字可以照常发。"


class Wishes(Query):
    """Which talks to list."""

    box: Literal["waiting", "mine", "unassigned", "closed", "all"] = "waiting"
    q: Words = ""

    @property
    def given(self) -> dict[str, str]:
        """The wishes that are not the usual ones, as an address or a hidden field carries them."""
        return {"box": self.box} if self.box != "waiting" and not self.q else {"q": self.q} if self.q else {}

    @property
    def is_by_wait(self) -> bool:
        """Whether who has waited longest comes first; else the latest message does."""
        return self.box == "waiting" and not self.q

    def path(self, **changes: object) -> str:
        """The list with some wishes changed."""
        return _with(HOME, {**self.given, **changes})

    def talk_path(self, talk_id: int) -> str:
        """A talk beside this list."""
        return _with(f"{HOME}/{talk_id}", self.given)


class TalksQuery(Wishes):
    """A page of the list."""

    before: RowKey | None = None


class TalkQuery(TalksQuery):
    """A talk beside the list, with what was said before some message."""

    older: RowKey | None = None


Speech = Annotated[str, StringConstraints(strip_whitespace=True, max_length=20_000, pattern=PARAGRAPH)]
"""Words of any length somebody may paste: what can be sent of them is the service's to say, once."""


class AnswerForm(Form):
    """What somebody of the merchant's says, or notes."""

    text: Speech = ""
    coupon: Id | None = None
    note: Literal["true"] | None = None
    picture: Literal[""] = ""
    """A browser without a chosen file may send an empty field."""
    nonce: Nonce = ""


class SeenForm(Query):
    """The newest message that was in view."""

    up_to: Id


class CloseForm(Query):
    """The newest message that whoever ends it was shown."""

    seen_to: Id | None = None


class AssignForm(Query):
    """Who takes care of a talk; nobody where it is empty."""

    staff: Id | Literal[""] = ""


@dataclass(frozen=True)
class Item:
    """A line of the thread: a day's beginning, something that happened, or a message."""

    kind: Literal["day", "told", "message"]
    at: datetime
    key: str
    day: date | None = None
    words: str = ""
    message: Shown | None = None
    media_path: str | None = None
    is_playable: bool = False
    """Browsers play it; the platform's own format they do not."""


def _with(path: str, given: Mapping[str, object]) -> str:
    kept = {name: value for name, value in given.items() if value}
    return path + (f"?{urlencode(kept)}" if kept else "")


# ---- The list and the thread -----------------------------------------------------------------------------------------


@blueprint.get("")
@merchant_required()
def list_talks() -> ResponseReturnValue:
    """The talks of one kind, or those in which something was said."""
    query = read_query(TalksQuery)
    listed = _list(query)
    if has_seen(listed["list_etag"]):
        return _answer("", listed["list_etag"], status=304)
    if asks_for_part():
        return _answer(render_template("merchant/_talks.html", **listed), listed["list_etag"])
    return _answer(render_template("merchant/talks.html", talk=None, **listed))


@blueprint.get("/<int:talk_id>")
@merchant_required()
def show(talk_id: int) -> ResponseReturnValue:
    """One talk: what was said, and what can be said next."""
    talk = reading.talk(g.session, merchant_id=g.staff.merchant_id, talk_id=talk_id)
    query = read_query(TalkQuery)
    if not asks_for_part():
        return _answer(_talk_page(talk, query, blank(nonce=new_nonce())))
    clock, told = _clock(talk), _happenings(talk)
    etag = etag_of(talk, clock, told, query.older)
    if has_seen(etag):
        return _answer("", etag, status=304)
    return _answer(render_template("merchant/_thread.html", **_thread(talk, query, clock, told)), etag)


def _answer(content: str, etag: str | None = None, *, status: int = 200) -> Response:
    response = make_response(content, status)
    if etag is not None:
        response.headers["ETag"] = etag
    response.headers["Vary"] = "HX-Request"
    return response


def _list(query: TalksQuery) -> dict[str, Any]:
    """What the list shows, and a mark that changes with it: also every day, and every minute that somebody waits."""
    merchant_id, staff_id = g.staff.merchant_id, g.staff.id
    before = _key(query.before)
    if query.q:
        page = _found(query.q, before)
    else:
        page = reading.listed(
            g.session, merchant_id=merchant_id, staff_id=staff_id, only=Filter(query.box), after=before, limit=PAGE
        )
    counts = reading.counts(g.session, merchant_id=merchant_id, staff_id=staff_id)
    minute = now().replace(second=0, microsecond=0)
    turns = minute if any(one.waiting_since for one in page.lines) else business_day(minute)
    return {
        "query": query,
        "talks": page.lines,
        "older": page.after,
        "waiting": counts.waiting,
        "boxes": (
            ("waiting", _("待回复"), counts.waiting),
            ("mine", _("我的"), counts.mine),
            ("unassigned", _("未分配"), counts.unassigned),
            ("closed", _("已结束"), None),
            ("all", _("全部"), None),
        ),
        "long_ago": now() - LONG_WAIT,
        "out_of_reach": now() - WINDOW,
        "list_etag": etag_of(page, counts, turns, query),
    }


def _found(words: str, before: Key | None) -> Page:
    """Talks of fans whose number, note or tag this is, then those in which it was said, with the words around it."""
    merchant_id = g.staff.merchant_id
    # Numbers are read out with a dash in their middle.
    said = words.replace("-", "").upper() if NUMBER.fullmatch(words) else words
    found = search.find(
        g.session, merchant_id=merchant_id, words=said, before=None if before is None else before.id, limit=PAGE
    )
    said_in = {one.talk_id: one for one in reversed(found.messages)}
    ids = list(dict.fromkeys([*found.talks, *(one.talk_id for one in found.messages)]))
    lines = reading.lines(g.session, merchant_id=merchant_id, talk_ids=ids)
    shown = []
    for talk_id in ids:
        line = lines[talk_id]
        if talk_id in said_in and talk_id not in found.talks:
            one = said_in[talk_id]
            line = replace(line, preview=one.snippet, preview_kind=one.kind, preview_direction=one.direction)
        shown.append(line)
    return Page(tuple(shown), None if found.before is None else Key(EPOCH, found.before))


def _talk_page(talk: Line, query: TalkQuery, form: Submission[Any], fan_form: Submission[Any] | None = None) -> str:
    clock, told = _clock(talk), _happenings(talk)
    return render_template(
        "merchant/talks.html",
        **_list(query),
        **_thread(talk, query, clock, told),
        talk_etag=etag_of(talk, clock, told, query.older),
        form=form,
        fan_form=fan_form or blank(note=talk.note, tags="，".join(talk.tags)),
        colleagues=tending.colleagues(g.session, merchant_id=g.staff.merchant_id),
        canned=canned.listed(g.session, merchant_id=g.staff.merchant_id),
        coupons=giveable(),
        text_max=TEXT_MAX_BYTES,
        note_max=answers.NOTE_MAX,
        picture_max=pictures.MAX_UPLOAD_BYTES,
    )


def _thread(talk: Line, query: TalkQuery, clock: ClockWords, told: list[Item]) -> dict[str, Any]:
    """The newest messages, or those before some message, with the days and what happened in between."""
    thread = reading.thread(g.session, merchant_id=g.staff.merchant_id, talk_id=talk.id, before=_key(query.older))
    return {
        "talk": talk,
        "clock": clock,
        "items": list(_items(talk, thread, told, is_newest=query.older is None)),
        "older_message": thread.before,
        "looks_back": query.older is not None,
        "newest_id": max((one.id for one in thread.messages), default=0),
    }


def _items(talk: Line, thread: reading.Thread, told: list[Item], *, is_newest: bool) -> Iterator[Item]:
    """The messages in their order, what happened between them, and where a day begins."""
    playable = _playable([one.id for one in thread.messages if one.kind is Kind.VOICE])
    items = [
        Item(
            "message",
            one.at,
            str(one.id),
            message=one,
            media_path=_media_path(talk, one),
            is_playable=one.id in playable,
        )
        for one in thread.messages
    ]
    since = items[0].at if items and thread.before is not None else None
    until = items[-1].at if items and not is_newest else None
    items += [one for one in told if (since is None or one.at >= since) and (until is None or one.at <= until)]
    day = None
    for one in sorted(items, key=lambda item: item.at):
        if (today := business_day(one.at)) != day:
            day = today
            yield Item("day", one.at, f"day-{day}", day=day)
        yield one


def _clock(talk: Line) -> ClockWords:
    clock = answers.clock(g.session, merchant_id=g.staff.merchant_id, follower_id=talk.follower_id, now=now())
    return clock_words(clock.open_until, clock.left)


def _happenings(talk: Line) -> list[Item]:
    """When the talk was ended, by whom, and what the customer thought of it."""
    mine = select(Enquiry).where(Enquiry.merchant_id == g.staff.merchant_id, Enquiry.talk_id == talk.id)
    told = []
    for one in g.session.scalars(mine.order_by(Enquiry.id.desc()).limit(ENQUIRIES)):
        if one.closed_at is not None:
            words = _ended(one)
            told.append(Item("told", one.closed_at, f"closed-{one.id}", words=words))
        if one.satisfaction is not None and one.rated_at is not None:
            words = _("客人评价：%(rating)s", rating=rating(one.satisfaction))
            told.append(Item("told", one.rated_at, f"rated-{one.id}", words=words))
    return told


def _ended(enquiry: Enquiry) -> str:
    if enquiry.closed_by != ClosedBy.STAFF:
        return str(_("很久没人说话，自动结束了"))
    member = g.session.get(Staff, enquiry.closed_by_staff) if enquiry.closed_by_staff else None
    return str(_("%(name)s结束了这次接待", name=member.name if member else _("店里")))


def _playable(voices: Sequence[int]) -> set[int]:
    """Which of these voices a browser plays."""
    if not voices:
        return set()
    mine = select(TalkMedia.message_id).where(
        TalkMedia.merchant_id == g.staff.merchant_id, TalkMedia.message_id.in_(voices), TalkMedia.mime.in_(PLAYABLE)
    )
    return set(g.session.scalars(mine))


def _media_path(talk: Line, message: Shown) -> str | None:
    """Where a picture or a voice is looked at; None where there is none, or not any more."""
    return f"{HOME}/{talk.id}/media/{message.id}" if message.media is MediaState.KEPT else None


def _key(written: str | None) -> Key | None:
    return None if written is None else Key.parse(written)


# ---- Answering -------------------------------------------------------------------------------------------------------


@blueprint.post("/<int:talk_id>/messages")
@merchant_required()
@upload_cap(pictures.MAX_UPLOAD_BYTES)
@limiter.limit("120 per minute")
def say(talk_id: int) -> ResponseReturnValue:
    """Answer with words, a picture, both, or a coupon; or note something that the customer never sees."""
    talk = _talk(talk_id)
    form = read_form(AnswerForm)
    if form.data is None:
        return _not_said(talk, form)
    try:
        _say(talk, form.data)
    except NotFound:
        raise
    except BusinessError as refusal:
        form.errors[""] = refusal_text(refusal)
        return _not_said(talk, form, refusal)
    return _done(talk, status=201)


def _not_said(talk: Line, form: Submission[Any], refusal: BusinessError | None = None) -> ResponseReturnValue:
    """Nothing was sent, and everything typed is still in its field."""
    if wants_json():
        message = " ".join(form.errors.values())
        code, status = (refusal.code, refusal.status) if refusal else ("invalid", 422)
        return jsonify(error=code, message=message), status
    form.values = {**form.values, "nonce": new_nonce()}
    return _answer(_talk_page(talk, TalkQuery(), form), status=refusal.status if refusal else 422)


def _say(talk: Line, said: AnswerForm) -> None:
    """Everything of one tap, in the order in which the customer reads it; a repeat of the tap says nothing more."""
    if said.note is not None:
        _note(talk, said)
        return
    if said.coupon is not None:
        template = templates.find(g.session, merchant_id=g.staff.merchant_id, template_id=said.coupon)
        _write(talk, CouponAnswer(template.id), said.nonce)
        return
    upload = request.files.get("picture")
    if upload is not None and upload.filename:
        if not limiter.limiter.hit(PICTURES, "talk pictures", str(g.staff.id)):
            raise TooManyPictures
        picture = pictures.prepare(upload.stream.read())
        _write(talk, PictureAnswer(picture), f"{said.nonce}.picture" if said.text else said.nonce)
        if not said.text:
            return
    _write(talk, TextAnswer(said.text), said.nonce)


def _write(talk: Line, answer: Answer, nonce: str) -> None:
    settings = current_runtime().settings
    answers.write(
        g.session,
        **_whose(talk),
        answer=answer,
        nonce=nonce,
        hosts=own_hosts(),
        public_url=settings.public_url,
        now=now(),
    )


def _note(talk: Line, said: AnswerForm) -> None:
    nonces.answer_once(
        g.session,
        lambda: {"note": answers.note(g.session, **_whose(talk), words=said.text, now=now())},
        actor=f"staff:{g.staff.id}",
        route="talk.note",
        nonce=said.nonce,
        body={"talk": talk.id, "text": said.text},
        merchant_id=g.staff.merchant_id,
    )


def _whose(talk: Line) -> dict[str, int]:
    return {"merchant_id": g.staff.merchant_id, "staff_id": g.staff.id, "talk_id": talk.id}


@blueprint.post("/<int:talk_id>/messages/<int:message_id>/cancel")
@merchant_required()
def cancel(talk_id: int, message_id: int) -> ResponseReturnValue:
    """Take back what waits for the customer's next visit."""
    talk = _talk(talk_id)
    answers.cancel(g.session, merchant_id=g.staff.merchant_id, talk_id=talk.id, message_id=message_id)
    record("talk.cancel", f"talk:{talk.id}", message=message_id)
    return _done(talk, _("不发了，已经取消。"))


@blueprint.post("/<int:talk_id>/seen")
@merchant_required()
def see(talk_id: int) -> ResponseReturnValue:
    """Somebody has it in view, up to the newest message they were shown."""
    talk = _talk(talk_id)
    form = read_query(SeenForm)
    tending.mark_read(g.session, merchant_id=g.staff.merchant_id, talk_id=talk.id, up_to=form.up_to)
    return _done(talk)


@blueprint.get("/<int:talk_id>/media/<int:file_id>")
@merchant_required()
def show_media(talk_id: int, file_id: int) -> Response:
    """A picture of the talk, or the customer's voice."""
    talk = _talk(talk_id)
    found = media.file(g.session, merchant_id=g.staff.merchant_id, talk_id=talk.id, message_id=file_id)
    response = make_response(found.content)
    response.mimetype = found.mime
    return response


# ---- What is done about a talk ---------------------------------------------------------------------------------------


@blueprint.post("/<int:talk_id>/assign")
@merchant_required()
def assign(talk_id: int) -> ResponseReturnValue:
    """Give it to somebody of the staff, or to nobody."""
    talk = _talk(talk_id)
    wanted = read_query(AssignForm)
    staff_id = wanted.staff or None
    tending.assign(g.session, **_whose(talk), to=staff_id, now=now())
    record("talk.assign", f"talk:{talk.id}", to=staff_id or 0)
    return _done(talk, _("已转交。") if staff_id else _("现在没有分给谁。"))


@blueprint.post("/<int:talk_id>/fan")
@merchant_required()
def remember(talk_id: int) -> ResponseReturnValue:
    """Keep a note and tags of the customer, the same as on their card."""
    talk = _talk(talk_id)
    form = read_form(FanForm)
    if form.data is not None:
        try:
            fans.set_note(g.session, g.staff.merchant_id, talk.follower_id, form.data.note)
            fans.set_tags(g.session, g.staff.merchant_id, talk.follower_id, TAG_SEPARATORS.split(form.data.tags))
        except Invalid as refusal:
            show_refusal(form, refusal)
        else:
            return _done(talk, _("已保存。"))
    return _answer(_talk_page(talk, TalkQuery(), blank(nonce=new_nonce()), form), status=422)


@blueprint.post("/<int:talk_id>/close")
@merchant_required()
def close(talk_id: int) -> ResponseReturnValue:
    """It is settled; the customer may be asked how it was."""
    talk = _talk(talk_id)
    form = read_query(CloseForm)
    tending.close(
        g.session,
        merchant_id=g.staff.merchant_id,
        staff_id=g.staff.id,
        talk_id=talk.id,
        seen_to=form.seen_to,
        now=now(),
    )
    record("talk.close", f"talk:{talk.id}")
    return _done(talk)


@blueprint.post("/<int:talk_id>/reopen")
@merchant_required()
def reopen(talk_id: int) -> ResponseReturnValue:
    """It is not settled after all."""
    talk = _talk(talk_id)
    tending.reopen(g.session, merchant_id=g.staff.merchant_id, talk_id=talk.id)
    record("talk.reopen", f"talk:{talk.id}")
    return _done(talk, _("已重新打开。"))


def _talk(talk_id: int) -> Line:
    return reading.talk(g.session, merchant_id=g.staff.merchant_id, talk_id=talk_id)


def _done(talk: Line, message: str = "", *, status: int = 200) -> ResponseReturnValue:
    """Where it goes on: the script asks for what is new by itself, a plain form comes back to the talk."""
    if wants_json():
        return jsonify(message=message), status
    if message:
        flash(message, "good")
    return redirect(f"{HOME}/{talk.id}", 303)


# ---- Taking it along -------------------------------------------------------------------------------------------------


@blueprint.post("/export")
@merchant_required(StaffRole.OWNER)
@limiter.limit("10 per minute")
def export() -> ResponseReturnValue:
    """The list as a spreadsheet: who, in which state, since when; nothing of what was said."""
    wishes = read_query(Wishes)
    merchant_id, staff_id = g.staff.merchant_id, g.staff.id
    record("export", "talks")
    heads = (
        *(_("编号"), _("备注"), _("标签"), _("状态"), _("最后一条"), _("从什么时候在等"), _("谁在接待")),
        *(_("没看的"), _("等着发的")),
    )
    not_out = str(talk_words.STATES[AnswerState.WAITING])
    states = {state: str(words) for state, words in talk_words.TALK_STATES.items()}

    def read(session: Session) -> Iterator[Sequence[Cell]]:
        after: Key | None = None
        while True:
            page = reading.listed(
                session,
                merchant_id=merchant_id,
                staff_id=staff_id,
                only=Filter(wishes.box),
                after=after,
                limit=EXPORTED,
            )
            for one in page.lines:
                yield (
                    fan_number(one.number),
                    one.note,
                    "、".join(one.tags),
                    not_out if one.waiting_out and one.state is TalkState.ANSWERED else states[one.state],
                    one.last_message_at,
                    one.waiting_since,
                    one.assigned_name,
                    one.unread,
                    one.waiting_out,
                )
            if page.after is None:
                return
            after = page.after

    name = _("聊天名单 %(day)s", day=business_day(now()).isoformat())
    return csv_answer(name, heads, rows_from(read, role=Role.MERCHANT, merchant_id=merchant_id))
