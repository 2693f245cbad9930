"""群发: writing a message to one's fans, seeing whom it would reach, trying it out, and handing it in."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints

from campaigns import audience
from campaigns.broadcasts import aftermath, bank, content, previews, reach, writing
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import Broadcast, BroadcastKind, BroadcastState, NotReached, Route, WordsKind
from campaigns.broadcasts.writing import Draft
from campaigns.coupons import cards
from core.clock import SHANGHAI
from core.errors import BusinessError, Invalid, NotFound
from merchants.models import StaffRole
from merchants.wording import Finding
from qrcodes import codes, fans
from qrcodes.fans import Filter
from web.acts import record
from web.auth.access import merchant_required
from web.broadcast_desk import audience_words, on_phone, reach_of
from web.broadcast_words import REASONS, ROUTES
from web.context import current_runtime, now
from web.forms import Form, OptionalLine, Paragraph, Submission, blank, moment_of, read_form, typed_moment
from web.language import refusal_text
from web.merchant import benefit_conditions
from web.merchant.benefit_conditions import Coupon, Level, Points, Redeemed
from web.merchant.fans import Days, Visits
from web.merchant.pictures import PictureId, own_picture_url
from web.query import Id, Query, read_query
from web.query import Words as Typed
from web.security import limiter
from wechat.limits import ARTICLE_DIGEST_MAX, ARTICLE_TITLE_MAX, TEXT_MAX_BYTES

blueprint = Blueprint("merchant_broadcasts", __name__, url_prefix="/merchant/broadcasts")

ONE = "/<int:broadcast_id>"
HOME = "/merchant/broadcasts"
PAGE = 20
PEOPLE = 50

GROUPS: dict[str, tuple[BroadcastState, ...]] = {
    "drafts": writing.WRITABLE,
    "waiting": (BroadcastState.SUBMITTED, BroadcastState.APPROVED, BroadcastState.LATE, BroadcastState.GATHERED),
    "sending": (BroadcastState.FREEZING, BroadcastState.RUNNING, BroadcastState.PAUSED),
    "done": (BroadcastState.FINISHED, BroadcastState.CANCELLED),
}
STARTED = (*GROUPS["sending"], BroadcastState.FINISHED)

Body = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=20_000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"),
]
"""An article's text."""
HelloDays = Literal["0", "1", "3", "7", "14"]
HeldOut = Literal["0", "5", "10", "20"]
Number = Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{10}$")]
"""A fan's."""
Someone = Literal[
    "mass", "window", "hello", "left", "ambiguous", "muted", "opted_out", "unreachable", "month", "week", "share",
    "alone", "held_out",
]  # fmt: skip
"""The numbers of a forecast that can be opened."""


class ListQuery(Query):
    """Which of them."""

    q: Typed = ""
    state: Literal["drafts", "waiting", "sending", "done"] | None = None
    before: Id | None = None


class BeginForm(Query):
    """What a new one begins with: one's own template, or the platform's."""

    template: Id | None = None
    built_in: Literal["new", "quiet-days", "hours", "event"] | None = None


class AudienceQuery(Query):
    """Who it is for, as the composer has it at the moment."""

    audience: Literal["all", "group", "conditions"] = "all"
    group: Id | None = None
    code: Id | None = None
    acquired: Literal["1"] | None = None
    came: Days | None = None
    seen: Days | None = None
    away: Days | None = None
    visits: Visits | None = None
    coupon: Coupon | None = None
    redeemed: Redeemed | None = None
    points: Points | None = None
    level: Level | None = None
    tag: Typed = ""


class BroadcastForm(Form):
    """Everything that is decided about a draft."""

    name: OptionalLine = ""
    kind: Literal["text", "picture", "article"]
    text: Paragraph = ""
    text_b: Paragraph = ""
    title: OptionalLine = ""
    summary: Paragraph = ""
    body: Body = ""
    picture: PictureId = ""
    template: PictureId = ""
    way: Literal["single", "item"] = "single"
    audience: Literal["all", "group", "conditions"] = "all"
    group: PictureId = ""
    code: PictureId = ""
    acquired: Literal["1", ""] = ""
    came: Days | Literal[""] = ""
    seen: Days | Literal[""] = ""
    away: Days | Literal[""] = ""
    visits: Visits | Literal[""] = ""
    coupon: Coupon | Literal[""] = ""
    redeemed: Redeemed | Literal[""] = ""
    points: Points | Literal[""] = ""
    level: Level | Literal[""] = ""
    tag: OptionalLine = ""
    hello_days: HelloDays = "7"
    held_out_percent: HeldOut = "0"
    when: Literal["now", "later"] = "now"
    scheduled_at: OptionalLine = ""


class ReachQuery(Query):
    """Which number of the forecast, and from where on."""

    which: Someone = "mass"
    after: Number | None = None


class TrialForm(Query):
    """Who tries it out."""

    staff: Id


class TemplateForm(Form):
    """What to call words that are kept."""

    name: OptionalLine = ""


@blueprint.get("")
@merchant_required()
def index() -> str:
    """What was written, the newest first, and what to begin with."""
    query = read_query(ListQuery)
    merchant_id = g.staff.merchant_id
    found = writing.page(
        g.session,
        merchant_id=merchant_id,
        states=GROUPS[query.state] if query.state else (),
        search=query.q,
        before=query.before,
        limit=PAGE + 1,
    )
    shown = found[:PAGE]
    return render_template(
        "merchant/broadcasts.html",
        query=query,
        broadcasts=[(one, _said(one)) for one in shown],
        started=STARTED,
        templates=writing.templates(g.session, merchant_id=merchant_id),
        states=[
            ("drafts", _("草稿")), ("waiting", _("等着发")), ("sending", _("正在发")), ("done", _("发完的")),
        ],
        older=shown[-1].id if len(found) > PAGE else None,
        muting=aftermath.muting_now(g.session, merchant_id),
        muted_by={one.broadcast_id: one.muting for one in aftermath.muting_by_broadcast(g.session, merchant_id)},
    )  # fmt: skip


def _said(broadcast: Broadcast) -> str:
    words = content.load(g.session, broadcast.id).get("a")
    if words is None:
        return ""
    said = content.fill(words.title or content.in_plain(words.text), {})
    return said or (_("[图片]") if words.kind is WordsKind.PICTURE else _("还没写"))


@blueprint.post("")
@merchant_required(StaffRole.OWNER)
def create() -> ResponseReturnValue:
    """Begin one."""
    wanted = read_query(BeginForm)
    merchant_id = g.staff.merchant_id
    key = wanted.built_in or (str(wanted.template) if wanted.template else None)
    words = writing.template(g.session, merchant_id=merchant_id, key=key).words if key else None
    broadcast_id = writing.create(g.session, merchant_id=merchant_id, staff_id=g.staff.id, words=words)
    return redirect(f"{HOME}/{broadcast_id}/edit", 303)


@blueprint.post("/templates/<int:template_id>/remove")
@merchant_required(StaffRole.OWNER)
def remove_template(template_id: int) -> ResponseReturnValue:
    """Forget words that were kept."""
    name = writing.remove_template(g.session, merchant_id=g.staff.merchant_id, template_id=template_id)
    flash(_("已删掉模板“%(name)s”。", name=name), "good")
    return redirect(HOME, 303)


@blueprint.get("/audience")
@merchant_required()
def count_audience() -> str:
    """How many people the composer's conditions mean now, and some of them."""
    query = read_query(AudienceQuery)
    merchant_id = g.staff.merchant_id
    wanted = writing.check_audience(g.session, merchant_id, _wanted(query))
    return render_template(
        "merchant/_audience.html",
        count=fans.count(g.session, merchant_id, wanted),
        sample=audience.sample(g.session, merchant_id=merchant_id, wanted=wanted),
    )


def _wanted(given: AudienceQuery | BroadcastForm) -> Filter:
    """The conditions as they are chosen: everybody, a group as it is now, or what is ticked."""
    if given.audience == "group" and given.group:
        return audience.group(g.session, merchant_id=g.staff.merchant_id, segment_id=int(given.group)).wanted
    if given.audience != "conditions":
        return Filter()
    return Filter(
        code_id=int(given.code) if given.code else None,
        acquired_only=bool(given.acquired),
        came_within_days=int(given.came) if given.came else None,
        seen_within_days=int(given.seen) if given.seen else None,
        away_for_days=int(given.away) if given.away else None,
        visits_at_least=int(given.visits) if given.visits else None,
        tag=given.tag,
        **benefit_conditions.chosen(given),
    )


@blueprint.get(f"{ONE}/edit")
@merchant_required(StaffRole.OWNER)
def edit(broadcast_id: int) -> str:
    """The composer; what is not a draft any more is shown as it is."""
    broadcast = _own(broadcast_id)
    if broadcast.state not in writing.WRITABLE:
        return _page(broadcast)
    return _form_page(broadcast, _as_typed(broadcast))


@blueprint.post(f"{ONE}/edit")
@merchant_required(StaffRole.OWNER)
def save(broadcast_id: int) -> ResponseReturnValue:
    """Keep the draft and look at it as a whole."""
    broadcast = _own(broadcast_id)
    form = read_form(BroadcastForm)
    if form.data is None:
        return _form_page(broadcast, form), 422
    try:
        writing.save(
            g.session,
            merchant_id=g.staff.merchant_id,
            broadcast_id=broadcast_id,
            draft=_draft(form.data),
            public_url=_public_url(),
            now=now(),
        )
    except Invalid as refusal:
        if refusal.field == "text" and form.data.kind == "article":
            refusal.field = "body"
        form.refuse(refusal)
        return _form_page(broadcast, form), 422
    return redirect(f"{HOME}/{broadcast_id}", 303)


def _draft(data: BroadcastForm) -> Draft:
    picture_id = int(data.picture) if data.picture else None
    template_id = int(data.template) if data.template and data.kind != "picture" else None
    words = {
        "text": Words(WordsKind.TEXT, data.text, template_id=template_id),
        "picture": Words(WordsKind.PICTURE, picture_id=picture_id),
        "article": Words(WordsKind.ARTICLE, data.body, data.title, data.summary, picture_id, template_id),
    }[data.kind]
    texts = {"a": words}
    if data.kind == "text" and data.text_b:
        texts["b"] = Words(WordsKind.TEXT, data.text_b, template_id=template_id)
    return Draft(
        texts,
        name=data.name,
        kind=BroadcastKind(data.way) if data.kind == "article" else BroadcastKind.SINGLE,
        wanted=_wanted(data),
        hello_days=int(data.hello_days),
        held_out_percent=int(data.held_out_percent),
        scheduled_at=moment_of(data.scheduled_at, "scheduled_at") if data.when == "later" else None,
    )


@blueprint.get(ONE)
@merchant_required()
def show(broadcast_id: int) -> str:
    """One broadcast as the phone shows it, whom it reaches, what it costs, and what may be done with it."""
    return _page(_own(broadcast_id))


@blueprint.get(f"{ONE}/people")
@merchant_required()
def people(broadcast_id: int) -> str:
    """The people behind one number of the forecast."""
    query = read_query(ReachQuery)
    broadcast = _own(broadcast_id)
    merchant_id = g.staff.merchant_id
    which = Route(query.which) if query.which in set(Route) else NotReached(query.which)
    after = 0
    if query.after is not None:
        try:
            after = fans.by_number(g.session, merchant_id, query.after).follower_id
        except NotFound:
            raise Invalid("网址里的条件不对，请返回再试。") from None
    found = reach.listed(
        g.session,
        merchant_id=merchant_id,
        wanted=audience.as_filter(broadcast.wanted),
        hello_days=broadcast.hello_days,
        held_out_percent=broadcast.held_out_percent,
        seed=broadcast.id,
        which=which,
        after=after,
        limit=PEOPLE + 1,
        now=now(),
    )
    shown = found[:PEOPLE]
    here = f"{HOME}/{broadcast_id}/people?which={query.which}"
    return render_template(
        "merchant/broadcast_reach.html",
        broadcast=broadcast,
        title=ROUTES[which] if isinstance(which, Route) else REASONS[which],
        people=shown,
        older=f"{here}&after={shown[-1].number}" if len(found) > PEOPLE else None,
        first=here if query.after else None,
    )


@blueprint.post(f"{ONE}/submit")
@merchant_required(StaffRole.OWNER)
def submit(broadcast_id: int) -> ResponseReturnValue:
    """Hand it to the operator, unless something stops it; then the page says what."""
    broadcast = _own(broadcast_id)
    try:
        writing.submit(
            g.session,
            merchant_id=g.staff.merchant_id,
            broadcast_id=broadcast_id,
            public_url=_public_url(),
            now=now(),
        )
    except (Invalid, writing.BadWording, writing.NobodyReached, writing.OnlyOneReached) as refusal:
        return _page(broadcast, refusal), 422
    record("broadcast.submit", f"broadcast:{broadcast_id}")
    flash(_("已交给运营审批，结果会通知您。"), "good")
    return redirect(f"{HOME}/{broadcast_id}", 303)


@blueprint.post(f"{ONE}/withdraw")
@merchant_required(StaffRole.OWNER)
def withdraw(broadcast_id: int) -> ResponseReturnValue:
    """Back to a draft."""
    writing.withdraw(g.session, merchant_id=g.staff.merchant_id, broadcast_id=broadcast_id)
    record("broadcast.withdraw", f"broadcast:{broadcast_id}")
    flash(_("已撤回成草稿，改好再提交。"), "good")
    return redirect(f"{HOME}/{broadcast_id}", 303)


@blueprint.post(f"{ONE}/discard")
@merchant_required(StaffRole.OWNER)
def discard(broadcast_id: int) -> ResponseReturnValue:
    """Give it up before it has started."""
    writing.cancel(g.session, merchant_id=g.staff.merchant_id, broadcast_id=broadcast_id)
    record("broadcast.cancel", f"broadcast:{broadcast_id}")
    flash(_("已取消，不会发给任何人。"), "good")
    return redirect(HOME, 303)


@blueprint.post(f"{ONE}/copy")
@merchant_required(StaffRole.OWNER)
def copy(broadcast_id: int) -> ResponseReturnValue:
    """The same once more, to be changed."""
    new_id = writing.copy(g.session, merchant_id=g.staff.merchant_id, broadcast_id=broadcast_id, staff_id=g.staff.id)
    return redirect(f"{HOME}/{new_id}/edit", 303)


@blueprint.post(f"{ONE}/test")
@merchant_required(StaffRole.OWNER)
@limiter.limit("10 per minute")
def test(broadcast_id: int) -> ResponseReturnValue:
    """Show it to one of one's own people, in WeChat."""
    broadcast = _own(broadcast_id)
    wanted = read_query(TrialForm)
    try:
        tester = previews.ask(
            g.session,
            merchant_id=g.staff.merchant_id,
            broadcast_id=broadcast_id,
            staff_id=wanted.staff,
            public_url=_public_url(),
        )
    except NotFound:
        raise
    except BusinessError as refusal:
        return _page(broadcast, refusal), refusal.status
    record("broadcast.test", f"broadcast:{broadcast_id}", staff_id=tester.staff_id)
    flash(_("正在发给%(name)s，过几秒看看微信。", name=tester.name), "good")
    return redirect(f"{HOME}/{broadcast_id}", 303)


@blueprint.post(f"{ONE}/template")
@merchant_required(StaffRole.OWNER)
def keep(broadcast_id: int) -> ResponseReturnValue:
    """Keep its words for the next time."""
    form = read_form(TemplateForm)
    try:
        if form.data is None:
            raise Invalid("请给模板起个名字。", field="name")
        writing.keep_template(
            g.session, merchant_id=g.staff.merchant_id, broadcast_id=broadcast_id, name=form.data.name
        )
    except Invalid as refusal:
        flash(refusal_text(refusal), "bad")
        return redirect(f"{HOME}/{broadcast_id}", 303)
    flash(_("已存成模板，下次写群发时可以直接用。"), "good")
    return redirect(f"{HOME}/{broadcast_id}", 303)


def _own(broadcast_id: int) -> Broadcast:
    return writing.own(g.session, merchant_id=g.staff.merchant_id, broadcast_id=broadcast_id)


def _public_url() -> str:
    return current_runtime().settings.public_url


def _page(broadcast: Broadcast, refusal: BusinessError | None = None) -> str:
    """`refusal` is why it could not be handed in or tried out."""
    merchant_id = g.staff.merchant_id
    has_started = broadcast.state in STARTED
    is_open = broadcast.state in writing.NOT_STARTED
    found: list[Finding] = []
    if broadcast.state in writing.WRITABLE:
        found = writing.doubts(g.session, merchant_id=merchant_id, broadcast_id=broadcast.id, public_url=_public_url())
    expected = writing.forecast(g.session, broadcast, now=now()) if is_open else None
    return render_template(
        "merchant/broadcast.html",
        broadcast=broadcast,
        messages=on_phone(content.load(g.session, broadcast.id, public_url=_public_url()), own_picture_url),
        reach=reach_of(expected) if expected else None,
        findings=found,
        refusal=refusal_text(refusal) if refusal else None,
        is_writable=broadcast.state in writing.WRITABLE,
        is_open=is_open,
        has_started=has_started,
        testers=previews.testers(g.session, merchant_id=merchant_id) if is_open else [],
        audience_words=_audience_words(broadcast),
    )


def _audience_words(broadcast: Broadcast) -> str:
    """Whom it is for, in one line."""
    wanted = audience.as_filter(broadcast.wanted)
    if broadcast.wanted:
        for group in audience.groups(g.session, merchant_id=g.staff.merchant_id):
            if group.wanted == wanted:
                return group.name
    found = codes.list_codes(g.session, merchant_id=g.staff.merchant_id) if wanted.code_id else []
    return audience_words(
        wanted,
        code=next((one.label for one in found if one.id == wanted.code_id), None),
        coupon=benefit_conditions.coupon_name(wanted, merchant_id=g.staff.merchant_id),
    )


def _as_typed(broadcast: Broadcast) -> Submission[Any]:
    """The composer's fields for what is stored."""
    words = content.written(g.session, broadcast.id)
    first, second = words["a"], words.get("b")
    is_article = first.kind is WordsKind.ARTICLE
    wanted = audience.as_filter(broadcast.wanted)
    groups = audience.groups(g.session, merchant_id=g.staff.merchant_id)
    group = next((one.id for one in groups if one.wanted == wanted), None)
    at = broadcast.scheduled_at
    return blank(
        name=broadcast.name,
        kind=first.kind,
        text="" if is_article else first.text,
        text_b=second.text if second else "",
        title=first.title,
        summary=first.summary,
        body=first.text if is_article else "",
        picture=first.picture_id,
        template=first.template_id,
        way=broadcast.kind,
        audience="all" if not broadcast.wanted else "group" if group else "conditions",
        group=group,
        code=wanted.code_id,
        acquired="1" if wanted.acquired_only else "",
        came=wanted.came_within_days,
        seen=wanted.seen_within_days,
        away=wanted.away_for_days,
        visits=wanted.visits_at_least,
        **benefit_conditions.as_chosen(wanted),
        tag=wanted.tag,
        hello_days=broadcast.hello_days,
        held_out_percent=broadcast.held_out_percent,
        when="later" if at else "now",
        scheduled_at=typed_moment(at) if at else "",
    )


def _form_page(broadcast: Broadcast, form: Submission[Any]) -> str:
    merchant_id = g.staff.merchant_id
    most = bank.policy(g.session).hello_days_most
    here = now().astimezone(SHANGHAI)
    return render_template(
        "merchant/broadcast_form.html",
        broadcast=broadcast,
        form=form,
        kinds=[("text", _("文字")), ("picture", _("图片")), ("article", _("图文"))],
        of_fan=[f"{{{name}|{fallback}}}" for name, fallback in (("上次来", _("前些天")), ("编号", _("邻居")))],
        of_shop=[f"{{{name}}}" for name in content.OF_SHOP],
        values=content.facts_of_shop(g.session, merchant_id),
        longest=content.PLACEHOLDERS,
        bytes_per_character=content.BYTES_PER_CHARACTER,
        picture=own_picture_url(form.values.get("picture")),
        coupons=[(one.template_id, one.name) for one in cards.choices(g.session, merchant_id=merchant_id)],
        groups=audience.groups(g.session, merchant_id=merchant_id),
        code_choices=[(one.id, one.label) for one in codes.list_codes(g.session, merchant_id=merchant_id)],
        tag_choices=[(tag, tag) for tag in fans.known_tags(g.session, merchant_id)],
        day_choices=[(days, _("%(days)s 天", days=days)) for days in get_args(Days)],
        visit_choices=[(visits, _("%(count)s 次", count=visits)) for visits in get_args(Visits)],
        **benefit_conditions.choices(),
        hello_choices=[
            (days, _("不等") if days == "0" else _("等 %(days)s 天", days=days))
            for days in get_args(HelloDays)
            if int(days) <= most
        ],
        held_out_choices=[
            (percent, _("不留") if percent == "0" else _("留 %(percent)s%%", percent=percent))
            for percent in get_args(HeldOut)
        ],
        can_hold_out=writing.forecast(g.session, broadcast, now=now()).can_hold_out
        or form.values.get("held_out_percent", "0") != "0",
        earliest=typed_moment(here),
        latest=typed_moment(here + writing.LATEST),
        text_max=TEXT_MAX_BYTES,
        title_max=ARTICLE_TITLE_MAX,
        summary_max=ARTICLE_DIGEST_MAX,
        body_max=content.BODY_MAX,
    )
