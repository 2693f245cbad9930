"""用语规则: what the linter refuses and doubts, a place to try a sentence, and the operator's own list of words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, Response, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints

from core.database import Role
from core.errors import Invalid
from merchants import sensitive_words
from merchants.wording import RULE_NAMES, RULES_IN_WORDS, Finding, Severity, lint
from web.acts import record
from web.auth.access import operator_required
from web.context import own_hosts
from web.exports import Rows, csv_answer, rows_from
from web.forms import Form, Paragraph, Submission, blank, read_form
from web.operator.desk import PAGE, account, page_of
from web.query import Id, Query, Words, read_query

blueprint = Blueprint("wording", __name__, url_prefix="/wording")

LIST_MAX = 60_000
NAMES = {severity: name for name, severity in sensitive_words.SEVERITIES.items()}


class WordsQuery(Query):
    """Which words of the list."""

    q: Words = ""
    before: Id | None = None


class TrialForm(Form):
    """A sentence to try."""

    sentence: Paragraph


class ListForm(Form):
    """Words for the list, one a line."""

    words: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LIST_MAX)]
    severity: Literal["refused", "doubtful"] = "refused"


@blueprint.get("")
@operator_required
def index() -> str:
    """The rules, the trial and the list."""
    return _page()


@blueprint.post("/try")
@operator_required
def try_out() -> ResponseReturnValue:
    """What would be said about a sentence; nothing is kept of it."""
    form = read_form(TrialForm)
    if form.data is None:
        return _page(trial=form), 422
    hosts = own_hosts()
    return _page(trial=form, findings=lint(form.data.sentence, hosts=hosts, listed=sensitive_words.listed(g.session)))


@blueprint.post("/words")
@operator_required
def add() -> ResponseReturnValue:
    """Put words on the list; they count from the next message on."""
    form = read_form(ListForm)
    if form.data is not None:
        try:
            words = sensitive_words.read_list(form.data.words, severity=Severity(form.data.severity))
            came_of = sensitive_words.add(g.session, account_id=account().id, words=words)
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("word.add", added=came_of.added, known=came_of.known)
            flash(_("加了 %(added)s 个，更新了 %(known)s 个。", added=came_of.added, known=came_of.known), "good")
            return redirect("/operator/wording", 303)
    return _page(listing=form), 422


@blueprint.post("/words/<int:word_id>/remove")
@operator_required
def remove(word_id: int) -> ResponseReturnValue:
    """Take a word off the list."""
    word = sensitive_words.remove(g.session, word_id=word_id)
    record("word.remove", word=word)
    flash(_("已删掉“%(word)s”。", word=word), "good")
    return redirect("/operator/wording", 303)


@blueprint.post("/words/export")
@operator_required
def export() -> Response:
    """The whole list, in the form in which it can be pasted back."""
    record("export", "sensitive_words")

    def rows(session: Any) -> Rows:
        return ((one.word, NAMES[one.severity], one.advice) for one in sensitive_words.listed(session))

    return csv_answer(_("敏感词"), sensitive_words.HEADS, rows_from(rows, role=Role.PLATFORM))


def _page(
    trial: Submission[TrialForm] | None = None,
    findings: list[Finding] | None = None,
    listing: Submission[ListForm] | None = None,
) -> str:
    """`findings`: what came of the trial; None: nothing was tried."""
    wanted = read_query(WordsQuery) if trial is None and listing is None else WordsQuery()
    rows = sensitive_words.find(g.session, search=wanted.q, before=wanted.before, limit=PAGE + 1)
    return render_template(
        "operator/wording.html",
        wanted=wanted,
        page=page_of(rows, lambda row: row.id),
        rules=[(RULE_NAMES[rule], severity, example) for rule, severity, example in RULES_IN_WORDS],
        trial=trial or blank(),
        findings=findings,
        listing=listing or blank(severity="refused"),
        severity_names={"refused": _("拦下"), "doubtful": _("提醒")},
        list_max=LIST_MAX,
    )
