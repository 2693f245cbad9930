"""Posters as files: typst sets a sheet as a PDF, PDFium turns the same PDF into pixels, and every code is read back.

A PNG is the PDF's own picture, so there is one description of each design; and what is delivered is what was checked.
"""

import hashlib
import io
import json
import re
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import pypdfium2
import typst
import zxingcpp
from PIL import Image
from pypdfium2 import raw

from core.errors import BusinessError
from qrcodes import images
from qrcodes.posters import colours
from qrcodes.posters.formats import MM, SHEETS, Box, Design, Format, boxes
from qrcodes.posters.lettering import FONTS, breakable, lettering
from qrcodes.posters.pixels import PngWriter

DESIGNS: Final = Path(__file__).parent / "designs"
BLEED: Final = 3.0
"""Millimetres that colour runs on beyond the edge, so that a knife may miss by a little."""
SLUG: Final = 10.0
"""Room around the sheet for that and for the marks that say where to cut."""
LOGO: Final = 0.2
"""A logo's side, of the code's: 4 % of its area, far within the 30 % that the strongest correction mends."""
CHECKED_PIXELS: Final = 4
"""How many pixels a module has when the code of a PDF is read back."""
SCREEN_PPI: Final = 96
SCAN: Final = "微信扫一扫"

_BRANCH = re.compile(r"(.+?)\s*[（(]([^（()）]{1,12})[)）]")
_MADE_UP_ID = re.compile(rb"<[0-9A-F]{32}>(?=\]>>\s+startxref)")
_QR: Final = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode])
_pdfium = threading.Lock()
"""PDFium has one state for the whole process."""


class Unreadable(Exception):
    """A code on a poster does not read as it should. A fault of ours: nothing is delivered."""


class NotForPrint(BusinessError):
    code = "not_for_print"
    message = "临时码会过期，印出来就作废了，所以不能做成印刷品。请换一个永久码，或者用手机壁纸。"


@dataclass(frozen=True)
class Look:
    """What all posters of a shop have in common."""

    name: str
    community: str = ""
    slogan: str = ""
    colour: str = colours.DEFAULT
    picture: bytes | None = None
    """A JPEG; without one there is neither of the two below."""
    design: Design = Design.VIVID
    with_picture: bool = True
    """The picture is shown large, on the formats that have room for it."""
    with_logo: bool = False
    """The picture sits in the middle of the code, small."""

    @property
    def replaced(self) -> tuple[str, ...]:
        """Characters that had to be written differently, because no font of ours has them."""
        texts = (self.name, self.community, self.slogan)
        return tuple(dict.fromkeys(one for text in texts for one in lettering(text).replaced))


@dataclass(frozen=True)
class PosterCode:
    """A code and what is written beside it."""

    url: str
    label: str = ""
    place: str = ""
    is_permanent: bool = True

    @property
    def replaced(self) -> tuple[str, ...]:
        """As with a look."""
        return tuple(dict.fromkeys(lettering(self.label).replaced + lettering(self.place).replaced))


@dataclass(frozen=True)
class _Spot:
    """A code as it stands on a page, in millimetres."""

    url: str
    box: Box
    x: float
    y: float
    side: float
    modules: int


def check_printable(format_: Format, codes: Sequence[PosterCode]) -> None:
    """Raise `NotForPrint` where a code would be dead before the paper is."""
    if SHEETS[format_].is_printed and not all(code.is_permanent for code in codes):
        raise NotForPrint


class Press:
    """Prints one look in one format; whatever its sheets have in common is prepared once.

    with Press(look, Format.A4) as press:
        press.pdf([code])
    """

    def __init__(self, look: Look, format_: Format) -> None:
        self.look = look
        self.format = format_
        self.sheet = SHEETS[format_]
        self._shades = colours.shades(look.colour)
        self._texts = {field: lettering(getattr(look, field)).text for field in ("name", "community", "slogan")}
        self._png = PngWriter()
        self._folder = Path(tempfile.mkdtemp(prefix="quanma-press-"))
        shutil.copytree(DESIGNS, self._folder, dirs_exist_ok=True)
        if look.picture is not None:
            (self._folder / "picture.jpg").write_bytes(look.picture)
        self._compiler = typst.Compiler(self._folder / "poster.typ", root=self._folder, font_paths=fonts())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave nothing behind on the disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def pdf(self, codes: Sequence[PosterCode], *, with_marks: bool = False) -> bytes:
        """A sheet for the printer: one code, or as many as the format has room for; fewer are repeated.

        `with_marks` adds bleed and crop marks around it. What is left after cutting, and how far the bleed reaches, is
        said in the file's boxes as well, for programs that lay sheets out.
        """
        spots, document = self._set(codes, with_marks=with_marks)
        with _Page(document) as page:
            document = page.boxed(slug=SLUG, bleed=BLEED) if with_marks else page.boxed(slug=0, bleed=0)
        with _Page(document) as page:
            for spot in spots:
                ppi = CHECKED_PIXELS * spot.modules / spot.side * MM
                _read_back(spot, page.pixels(ppi, Box(spot.x, spot.y, spot.side)))
        return document

    def png(self, codes: Sequence[PosterCode]) -> bytes:
        """The same as pixels, each module the same whole number of them."""
        spots, document = self._set(codes, with_marks=False)
        with _Page(document) as page:
            picture = page.picture(self.sheet.ppi)
        for spot in spots:
            edges = (spot.x, spot.y, spot.x + spot.side, spot.y + spot.side)
            _read_back(spot, picture.crop(tuple(round(edge * self.sheet.ppi / MM) for edge in edges)))  # type: ignore[arg-type]
        return self._png.write(picture, self.sheet.ppi)

    def preview(self, codes: Sequence[PosterCode], *, width: int) -> bytes:
        """A small PNG for the screen."""
        _, document = self._set(codes, with_marks=False)
        with _Page(document) as page:
            picture = page.picture(width / self.sheet.width * MM)
        return self._png.write(picture, SCREEN_PPI)

    def _set(self, codes: Sequence[PosterCode], *, with_marks: bool) -> tuple[list[_Spot], bytes]:
        check_printable(self.format, codes)
        has_picture = self.look.with_picture and self.look.picture is not None
        has_logo = self.look.with_logo and self.look.picture is not None
        slug, bleed = (SLUG, BLEED) if with_marks else (0.0, 0.0)
        places = boxes(self.format, self.look.design, has_picture=has_picture)
        if not 1 <= len(codes) <= len(places):
            raise ValueError(f"a sheet takes 1 to {len(places)} codes, not {len(codes)}")
        spots, entries = [], []
        for place, code in zip(places, (codes[number % len(codes)] for number in range(len(places))), strict=True):
            spot = self._spot(code.url, place, "H" if has_logo else "M")
            spots.append(_Spot(spot.url, place, spot.x + slug, spot.y + slug, spot.side, spot.modules))
            entries.append(_entry(spot, code, has_logo=has_logo))
        name, branch = parted(self._texts["name"])
        sheet = {
            "format": self.format,
            "design": self.look.design,
            "width": self.sheet.width,
            "height": self.sheet.height,
            "bleed": bleed,
            "slug": slug,
            "title": self.look.name,
            "name": name,
            "branch": branch,
            "community": self._texts["community"],
            "slogan": self._texts["slogan"],
            "scan": SCAN,
            "picture": has_picture,
            "colours": vars(self._shades),
            "codes": entries,
        }
        # With a fixed timestamp the same sheet is the same file.
        inputs = {"sheet": json.dumps(sheet, ensure_ascii=False)}
        document = self._compiler.compile(format="pdf", sys_inputs=inputs, timestamp=0, pdf_tags=False)
        return spots, cast(bytes, document)

    def _spot(self, url: str, box: Box, correction: images.Correction) -> _Spot:
        """The largest square of whole pixels a module inside `box`, its corner on a pixel of the sheet's PNG."""
        modules = len(images.matrix(url, correction))
        pixel = MM / self.sheet.ppi
        side = int(box.side / pixel / modules) * modules
        x, y = (int((start + box.side / 2) / pixel - side / 2) for start in (box.x, box.y))
        return _Spot(url, box, x * pixel, y * pixel, side * pixel, modules)


def _entry(spot: _Spot, code: PosterCode, *, has_logo: bool) -> dict[str, Any]:
    label, place = lettering(code.label).text, lettering(code.place).text
    logo = spot.side * LOGO
    return {
        "x": spot.x,
        "y": spot.y,
        "side": spot.side,
        "box": [spot.box.x, spot.box.y, spot.box.side],
        "svg": images.svg(code.url, "H" if has_logo else "M"),
        "logo": [spot.x + (spot.side - logo) / 2, spot.y + (spot.side - logo) / 2, logo] if has_logo else None,
        "label": label,
        "place": place,
    }


def parted(name: str) -> tuple[str, str]:
    """A name and its branch, which is set smaller: 老王早餐（东门店）."""
    match = _BRANCH.fullmatch(name)
    main, branch = (match[1], match[2]) if match else (name, "")
    return breakable(main), branch


@lru_cache(maxsize=1)
def fonts() -> typst.Fonts:
    """Our letters and no others, read once a process."""
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(FONTS)])


class _Page:
    """The first page of a PDF, for looking at it."""

    def __init__(self, document: bytes) -> None:
        self._content = document

    def __enter__(self) -> Self:
        _pdfium.acquire()
        self._document = pypdfium2.PdfDocument(self._content)
        self._page = self._document[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._page.close()
        self._document.close()
        _pdfium.release()

    def boxed(self, *, slug: float, bleed: float) -> bytes:
        """The document with a TrimBox `slug` millimetres inside the page, and a BleedBox `bleed` around that."""
        width, height = self._page.get_size()
        for inset, set_box in ((slug, self._page.set_trimbox), (slug - bleed, self._page.set_bleedbox)):
            edge = inset / MM * 72
            set_box(edge, edge, width - edge, height - edge)
        file = io.BytesIO()
        self._document.save(file)
        # PDFium makes half of the file's id up; made from the content, the same sheet stays the same file.
        made_up = hashlib.sha256(self._content).hexdigest()[:32].upper().encode()
        return _MADE_UP_ID.sub(b"<" + made_up + b">", file.getvalue())

    def picture(self, ppi: float) -> Image.Image:
        """All of it, in colour."""
        width, height = self._page.get_size()
        return self._draw(ppi, 0, 0, round(width * ppi / 72), round(height * ppi / 72), grey=False)

    def pixels(self, ppi: float, box: Box) -> Image.Image:
        """A square part of it, in grey."""
        side = round(box.side * ppi / MM)
        return self._draw(ppi, box.x * ppi / MM, box.y * ppi / MM, side, side, grey=True)

    def _draw(self, ppi: float, x: float, y: float, width: int, height: int, *, grey: bool) -> Image.Image:
        # With a matrix, because PDFium's plain rendering stretches the page to whole pixels, and modules with it.
        kind = raw.FPDFBitmap_Gray if grey else raw.FPDFBitmap_BGR
        bitmap = pypdfium2.PdfBitmap.new_native(width, height, kind, rev_byteorder=not grey)
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
        scale = ppi / 72
        raw.FPDF_RenderPageBitmapWithMatrix(
            bitmap,
            self._page,
            raw.FS_MATRIX(scale, 0, 0, scale, -x, -y),
            raw.FS_RECTF(0, 0, width, height),
            0 if grey else raw.FPDF_REVERSE_BYTE_ORDER,
        )
        picture: Image.Image = bitmap.to_pil().copy()
        bitmap.close()
        return picture


def _read_back(spot: _Spot, picture: Image.Image) -> None:
    found = zxingcpp.read_barcode(picture.convert("L"), formats=_QR)
    if found is None or found.text != spot.url:
        raise Unreadable(f"the code of {spot.url} reads as {found.text if found else 'nothing'}")
