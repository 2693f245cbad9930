"""Every format is drawn as meant, nothing is cut off, and every code on it reads."""

import io
import random
import string
from dataclasses import replace

import pypdfium2
import pytest
from PIL import Image
from pypdfium2 import raw

from qrcodes import images
from qrcodes.posters import press as presses
from qrcodes.posters.formats import MM, SHEETS, Design, Format
from qrcodes.posters.press import BLEED, SLUG, Look, NotForPrint, PosterCode, Press, Unreadable
from tests.qrcodes.posters import references
from tests.qrcodes.posters.shops import BREAKFAST, CODE, FRUIT, LONG, URL, drawn, read_by_another, stickers


def printed(look: Look, format_: Format, code: PosterCode = CODE, *, with_marks: bool = False) -> bytes:
    with Press(look, format_) as press:
        return press.pdf([code], with_marks=with_marks)


def texts(document: bytes) -> str:
    return str(pypdfium2.PdfDocument(document)[0].get_textpage().get_text_bounded())


@pytest.mark.parametrize("case", references.CASES, ids="-".join)
def test_every_format_looks_as_it_is_meant_to(case: tuple[Format, Design, str]) -> None:
    meant = Image.open(references.path(*case)).convert("RGB")
    assert references.distance(references.draw(*case), meant) < 20


def test_a_word_that_is_missing_would_be_seen() -> None:
    meant = Image.open(references.path(Format.A4, Design.PLAIN, "breakfast")).convert("RGB")
    with Press(replace(BREAKFAST, design=Design.PLAIN, slogan=""), Format.A4) as press:
        other = Image.open(io.BytesIO(press.preview([CODE], width=references.WIDTH))).convert("RGB")
    assert references.distance(other.resize(meant.size), meant) > 40


@pytest.mark.parametrize("format_", Format)
def test_a_picture_has_whole_modules_and_a_quiet_zone(format_: Format) -> None:
    with Press(BREAKFAST, format_) as press:
        picture = Image.open(io.BytesIO(press.png([CODE]))).convert("L")
        spots, _ = press._set([CODE], with_marks=False)
    sheet = SHEETS[format_]
    assert picture.size == (round(sheet.width * sheet.ppi / MM), round(sheet.height * sheet.ppi / MM))
    matrix = images.matrix(URL)
    for spot in spots:
        left, top, side = (round(measure * sheet.ppi / MM) for measure in (spot.x, spot.y, spot.side))
        pixels, rest = divmod(side, len(matrix))
        assert rest == 0
        code = picture.crop((left, top, left + side, top + side))
        grid = code.resize((len(matrix), len(matrix)), Image.Resampling.BOX)
        # Every module is all black or all white, to the last pixel at its edge.
        assert [[value < 8 for value in row] for row in rows(grid)] == [list(row) for row in matrix]
        assert all(value < 8 or value > 247 for row in rows(grid) for value in row)
        assert min(code.crop((0, 0, side, images.QUIET_ZONE * pixels)).tobytes()) > 250


def rows(picture: Image.Image) -> list[list[int]]:
    flat = list(picture.tobytes())
    return [flat[start : start + picture.width] for start in range(0, len(flat), picture.width)]


def test_a_print_file_has_lines_not_pixels_and_its_own_letters() -> None:
    document = printed(BREAKFAST, Format.A4)
    page = pypdfium2.PdfDocument(document)[0]
    assert [round(measure / 72 * MM) for measure in page.get_size()] == [210, 297]
    assert not [one for one in page.get_objects(max_depth=9) if one.type == raw.FPDF_PAGEOBJ_IMAGE]
    assert b"/FontFile" in document
    # Of three fonts with thirty thousand characters each, only what is said.
    assert len(document) < 60_000


def test_bleed_and_marks_are_for_the_knife() -> None:
    sheet = SHEETS[Format.A4]
    document = printed(FRUIT, Format.A4, with_marks=True)
    page = drawn(document, ppi=MM * 4)
    assert page.size == pytest.approx((4 * (sheet.width + 2 * SLUG), 4 * (sheet.height + 2 * SLUG)), abs=1)
    middle = page.height // 2
    inside, outside = 4 * (SLUG - BLEED) + 2, 4 * (SLUG - BLEED) - 2
    assert page.getpixel((round(inside), middle)) != (255, 255, 255)
    assert page.getpixel((round(outside), middle)) == (255, 255, 255)
    # A mark stands exactly where the sheet is cut, clear of the bleed.
    above = page.crop((0, 0, page.width, round(4 * (SLUG - BLEED - 1)))).convert("L")
    dark = {x for x in range(above.width) if above.getpixel((x, 8)) < 200}  # type: ignore[operator]
    assert {round(x / 4) for x in dark} == {round(SLUG), round(SLUG + sheet.width)}
    assert read_by_another(page) == {URL}


@pytest.mark.parametrize("format_", [one for one in Format if SHEETS[one].is_printed])
def test_the_boxes_say_where_to_cut(format_: Format) -> None:
    sheet = SHEETS[format_]
    for with_marks, slug, bleed in ((False, 0, 0), (True, SLUG, BLEED)):
        document = printed(BREAKFAST, format_, with_marks=with_marks)
        page = pypdfium2.PdfDocument(document)[0]
        whole, trim, bled = (
            [measure / 72 * MM for measure in box]
            for box in (page.get_mediabox(), page.get_trimbox(fallback_ok=False), page.get_bleedbox(fallback_ok=False))
        )
        assert whole == pytest.approx([0, 0, sheet.width + 2 * slug, sheet.height + 2 * slug], abs=0.01)
        assert trim == pytest.approx([slug, slug, slug + sheet.width, slug + sheet.height], abs=0.01)
        near, far = slug - bleed, slug + bleed
        assert bled == pytest.approx([near, near, far + sheet.width, far + sheet.height], abs=0.01)


def test_the_same_sheet_is_the_same_file() -> None:
    assert printed(FRUIT, Format.A5, with_marks=True) == printed(FRUIT, Format.A5, with_marks=True)
    assert printed(FRUIT, Format.A5) != printed(FRUIT, Format.A5, replace(CODE, label="4 号桌"))


@pytest.mark.parametrize("format_", [one for one in Format if SHEETS[one].is_printed])
def test_a_temporary_code_is_not_printed(format_: Format) -> None:
    with Press(FRUIT, format_) as press:
        for make in (press.pdf, press.png):
            with pytest.raises(NotForPrint):
                make([CODE, replace(CODE, is_permanent=False)])


def test_a_temporary_code_may_be_shown_on_a_phone() -> None:
    with Press(FRUIT, Format.WALLPAPER) as press:
        assert press.png([replace(CODE, is_permanent=False)])


def test_a_code_that_reads_wrong_is_never_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    other = images.svg("http://weixin.qq.com/q/02somebodyElse000000000")
    monkeypatch.setattr(images, "svg", lambda *_: other)
    with Press(FRUIT, Format.A5) as press:
        for make in (press.pdf, press.png):
            with pytest.raises(Unreadable, match="somebodyElse"):
                make([CODE])


def test_a_code_that_is_covered_is_never_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presses, "LOGO", 0.6)
    with Press(replace(FRUIT, with_logo=True), Format.A5) as press, pytest.raises(Unreadable, match="nothing"):
        press.pdf([CODE])


def test_eight_stickers_are_eight_tables_or_the_same_one() -> None:
    tables = [PosterCode(f"{URL}{number}", f"{number} 号桌") for number in range(8)]
    with Press(BREAKFAST, Format.STICKERS) as press:
        sheet = press.pdf(tables)
        assert all(table.label in texts(sheet) for table in tables)
        with pytest.raises(ValueError, match="8"):
            press.pdf([*tables, CODE])
        with pytest.raises(ValueError, match="8"):
            press.pdf([])
        assert texts(press.pdf([CODE])).count("3 号桌") == 8
    assert [read_by_another(one) for one in stickers(drawn(sheet, ppi=110))] == [{table.url} for table in tables]


NAMES = [
    LONG,
    "长" * 30,
    "A" * 30,
    "The Very Best Little Teahouse",
    "王记🍎水果𰻞（总店）",
    "一",
    '<b>#read("/etc/passwd")*_$x$',
    "{{7*7}} \\u{4e00} @ref <label>",
]


@pytest.mark.parametrize("format_", Format)
def test_no_name_is_cut_off_or_understood(format_: Format) -> None:
    for number, name in enumerate(NAMES):
        design = list(Design)[number % 2]
        document = printed(
            Look(name, "很长的社区名字" * 4, "口" * 24, design=design), format_, replace(CODE, label="号" * 30)
        )
        words = texts(document).replace("\u200b", "")
        page = pypdfium2.PdfDocument(document)[0]
        text = page.get_textpage()
        width, height = page.get_size()
        for index in range(text.count_chars()):
            left, bottom, right, top = text.get_charbox(index)
            assert left >= 0 and bottom >= 0, name  # noqa: PT018
            assert right <= width and top <= height, name  # noqa: PT018
        shown = "".join(words.split())
        expected = name.replace("🍎", "").replace("𰻞", "biáng").replace("（总店）", "").replace("（东门店）", "")
        if format_ is not Format.BADGE:
            assert "".join(expected.split()) in shown, name
        assert "root:" not in shown


def test_two_hundred_codes_read_with_another_library() -> None:
    chance = random.Random(7)
    letters = string.ascii_letters + string.digits + "-_"
    names = ["王记水果", LONG, "Café 24h", "𰻞𰻞面馆", "🍜 老李", "山茶小筑"]
    # Twenty-four sheets of eight stickers, and eight sheets with one code.
    for number, format_ in enumerate(
        [Format.STICKERS] * 24 + [Format.A5, Format.BADGE, Format.A4, Format.WALLPAPER] * 2
    ):
        urls = ["http://weixin.qq.com/q/02" + "".join(chance.choices(letters, k=chance.randrange(4, 60)))]
        while format_ is Format.STICKERS and len(urls) < 8:
            urls.append(urls[0] + chance.choice(letters) + str(len(urls)))
        look = Look(
            chance.choice(names),
            slogan="".join(chance.choices("好吃不贵新鲜现做", k=chance.randrange(8))),
            colour=f"#{chance.randrange(0x1000000):06x}",
            picture=FRUIT.picture,
            design=chance.choice(list(Design)),
            with_picture=chance.choice([True, False]),
            with_logo=chance.choice([True, False]),
        )
        with Press(look, format_) as press:
            sheet = press.pdf([PosterCode(url, f"{place} 号桌") for place, url in enumerate(urls)])
        page = drawn(sheet, ppi=2000 * MM / SHEETS[format_].width)
        seen = [read_by_another(one) for one in (stickers(page) if format_ is Format.STICKERS else [page])]
        assert seen == [{url} for url in urls], (number, look.name)
