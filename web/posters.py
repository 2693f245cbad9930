"""The gallery of posters: what merchants and the operator share of it. Both choose a look, see every format in it,
and take the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from flask import Response, g, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import BaseModel, StringConstraints

from core.errors import Invalid, NotFound
from merchants import sensitive_words
from merchants.models import Merchant
from qrcodes import codes
from qrcodes.models import CodeBatch, CodeState, SubQrCode
from qrcodes.posters import colours, jobs, looks, slogans
from qrcodes.posters.formats import SHEETS, Design, Format
from qrcodes.posters.jobs import FileKind
from qrcodes.posters.looks import Wishes
from qrcodes.posters.press import NotForPrint, Press
from web.context import now
from web.forms import Form, OptionalLine, Submission, blank, read_form
from web.language import refusal_text
from web.query import Query, read_query
from web.words import POSTER_DESIGNS, POSTER_FORMATS, POSTER_KINDS

PREVIEW_WIDTH = 480
FORMATS = f"any({', '.join(Format)})"
"""The formats as a route spells them; another one is a plain 404."""
OWN = "own"
Colour = Annotated[str, StringConstraints(pattern=r"^(#[0-9a-fA-F]{6}|own)$")]
Hex = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
Ticked = Literal["true"] | None


class LookFields(BaseModel):
    """A look as it is chosen; `own` counts where the colour is none of the palette's."""

    slogan: OptionalLine = ""
    colour: Colour = colours.DEFAULT
    own: Hex = colours.DEFAULT
    design: Design = Design.VIVID
    picture: Ticked = None
    logo: Ticked = None

    @property
    def wishes(self) -> Wishes:
        return Wishes(
            slogan=self.slogan,
            colour=self.own if self.colour == OWN else self.colour,
            design=self.design,
            with_picture=self.picture is not None,
            with_logo=self.logo is not None,
        )


class LookForm(LookFields, Form):
    """The form of a look; it says that it is one when it asks for the gallery."""

    draft: Literal["1"] = "1"


class LookQuery(LookFields, Query):
    """The same in an address. Without `draft` the saved look is meant."""

    draft: Literal["1"] | None = None


class FileQuery(LookQuery):
    """And whether the printer gets bleed and crop marks."""

    marks: Literal["1"] | None = None


class PackForm(Form):
    """One format for all codes of a merchant."""

    format: Format
    kind: FileKind = "pdf"


@dataclass(frozen=True)
class Tile:
    """One format in the gallery."""

    format: Format
    name: str
    note: str
    preview: str
    pdf: str | None
    pdf_with_marks: str | None
    png: str
    width: int
    height: int


@dataclass(frozen=True)
class Swatch:
    """One colour to choose."""

    colour: str
    name: str


def gallery(code: SubQrCode, *, path: str, page: str, form: Submission[Any] | None = None, **context: Any) -> Response:
    """The page, or for a form that changes its fields the gallery alone, in the look it describes."""
    query = read_query(LookQuery)
    drafted, refusal = None, ""
    try:
        drafted = _drafted(query)
    except Invalid as error:
        refusal = refusal_text(error)
    wanted = drafted or _kept(code)
    look = looks.look(g.session, merchant_id=code.merchant_id, wanted=wanted)
    replaced = tuple(dict.fromkeys(look.replaced + looks.on_poster(code).replaced))
    has_picture = g.session.get_one(Merchant, code.merchant_id).picture_id is not None
    shown: dict[str, Any] = {
        "code": code,
        "path": path,
        "tiles": _tiles(code, path, wanted),
        "refusal": refusal,
        "slogan": wanted.slogan,
        "printed": looks.printable(g.session, merchant_id=code.merchant_id, wanted=wanted).slogan,
        "newest_slogan": slogans.newest(g.session, merchant_id=code.merchant_id),
        "not_for_print": "" if code.permanent else refusal_text(NotForPrint()),
        "replaced": replaced,
    }
    if request.headers.get("HX-Request") == "true":
        answer = Response(render_template("posters/_gallery.html", **shown))
    else:
        choices: dict[str, Any] = {
            "form": form or _filled(wanted),
            "has_picture": has_picture,
            "swatches": [Swatch(colour, _(name)) for colour, name in colours.PALETTE.items()],
            "designs": POSTER_DESIGNS.items(),
            "slogan_max": slogans.SLOGAN_MAX,
            **pack_choices(),
        }
        answer = Response(render_template(page, **shown, **choices, **context))
    answer.headers["Vary"] = "HX-Request"
    return answer


def pack(code: SubQrCode, *, jobs_path: str) -> ResponseReturnValue:
    """Have a worker print a format for all codes of this one's merchant, and lead to where the work shows."""
    wanted = _pack_form()
    job_id = jobs.order_for_merchant(
        g.session,
        merchant_id=code.merchant_id,
        format_=wanted.format,
        kind=wanted.kind,
        requested_by=g.staff.id,
        is_operators=g.staff.merchant_id is None,
        now=now(),
    )
    return redirect(f"{jobs_path}/{job_id}", 303)


def pack_batch(batch: CodeBatch, *, jobs_path: str) -> ResponseReturnValue:
    """The same for the codes that one list made."""
    wanted = _pack_form()
    job_id = jobs.order_for_batch(g.session, batch, format_=wanted.format, kind=wanted.kind, now=now())
    return redirect(f"{jobs_path}/{job_id}", 303)


def _pack_form() -> PackForm:
    form = read_form(PackForm)
    if form.data is None:
        raise Invalid("请从列出的选项里选。")
    return form.data


def pack_choices() -> dict[str, Any]:
    """What the form of a pack offers."""
    return {
        "pack_formats": [(format_, POSTER_FORMATS[format_][0]) for format_ in jobs.offered()],
        "pack_kinds": POSTER_KINDS.items(),
    }


def preview(code: SubQrCode, format_: Format) -> Response:
    """A format on the screen, in the look of the address, whether its words may be printed already or not."""
    wanted = _drafted(read_query(LookQuery)) or _kept(code)
    with _press(code, format_, wanted) as press:
        return Response(press.preview([looks.on_poster(code)], width=PREVIEW_WIDTH), mimetype="image/png")


def pdf(code: SubQrCode, format_: Format) -> Response:
    """The file for the printer."""
    query = read_query(FileQuery)
    with _press(code, format_, _printed(code, query)) as press:
        made = press.pdf([looks.on_poster(code)], with_marks=query.marks is not None)
    return _file(made, "application/pdf", code, format_, "pdf")


def png(code: SubQrCode, format_: Format) -> Response:
    """The file for a screen or a copy shop."""
    with _press(code, format_, _printed(code, read_query(LookQuery))) as press:
        made = press.png([looks.on_poster(code)])
    return _file(made, "image/png", code, format_, "png")


def drawable(code: SubQrCode | None) -> SubQrCode:
    """The code if a poster can be made for it: it has been made, and is neither retired nor over."""
    if code is None or code.url is None or code.state == CodeState.RETIRED or codes.is_expired(code, now()):
        raise NotFound(_("没有这个二维码。"))
    return code


def _kept(code: SubQrCode) -> Wishes:
    """The look to go on from: the merchant's with the words it last wrote.

    An operator's words need nobody's approval, so operators go on from what is printed: else to save a colour would
    let through what waits.
    """
    read = looks.wishes if g.staff.merchant_id is None else looks.wanted_next
    return read(g.session, merchant_id=code.merchant_id)


def _printed(code: SubQrCode, query: LookQuery) -> Wishes:
    """The look in the address, or the saved one; of slogans, only what was approved leaves the house."""
    wanted = _drafted(query) or looks.wishes(g.session, merchant_id=code.merchant_id)
    return looks.printable(g.session, merchant_id=code.merchant_id, wanted=wanted)


def _press(code: SubQrCode, format_: Format, wanted: Wishes) -> Press:
    return Press(looks.look(g.session, merchant_id=code.merchant_id, wanted=wanted), format_)


def _drafted(query: LookQuery) -> Wishes | None:
    """The look in an address, if there is one; raises `Invalid` over a slogan that may not be printed."""
    if not query.draft:
        return None
    return query.wishes.checked(listed=sensitive_words.listed(g.session))


def _tiles(code: SubQrCode, path: str, wanted: Wishes) -> list[Tile]:
    chosen = {"draft": "1", "slogan": wanted.slogan, "colour": wanted.colour, "design": wanted.design.value}
    chosen |= {name: "true" for name, is_so in (("picture", wanted.with_picture), ("logo", wanted.with_logo)) if is_so}
    query = urlencode({name: value for name, value in chosen.items() if value})
    tiles = []
    for format_, (name, note) in POSTER_FORMATS.items():
        sheet = SHEETS[format_]
        if sheet.is_printed and not code.permanent:
            continue
        here = f"{path}/{format_}"
        pdf_address = f"{here}/pdf?{query}" if sheet.is_printed else None
        tiles.append(
            Tile(
                format_,
                str(name),
                str(note),
                preview=f"{here}/preview?{query}",
                pdf=pdf_address,
                pdf_with_marks=f"{pdf_address}&marks=1" if pdf_address else None,
                png=f"{here}/png?{query}",
                width=PREVIEW_WIDTH,
                height=round(PREVIEW_WIDTH * sheet.height / sheet.width),
            )
        )
    return tiles


def _filled(wanted: Wishes) -> Submission[Any]:
    is_of_palette = wanted.colour in colours.PALETTE
    return blank(
        slogan=wanted.slogan,
        colour=wanted.colour if is_of_palette else OWN,
        own=wanted.colour,
        design=wanted.design.value,
        picture=wanted.with_picture,
        logo=wanted.with_logo,
    )


def _file(content: bytes, mime: str, code: SubQrCode, format_: Format, kind: str) -> Response:
    response = Response(content, mimetype=mime)
    name = quote(f"{code.label}-{POSTER_FORMATS[format_][0]}.{kind}", safe="")
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
    return response
