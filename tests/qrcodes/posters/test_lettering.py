"""What cannot be printed is left out or written differently, and said."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrcodes.posters.lettering import FONTS, STAND_IN, covered, lettering


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("王记水果", "王记水果"),
        ("王记🍎水果🍊", "王记水果"),
        ("👨‍👩‍👧‍👦全家福", "全家福"),
        ("☀️早安 ❤️", "早安"),
        ("1️⃣号店", "1号店"),
        ("🇨🇳好味道👍🏽", "好味道"),
        ("老  王\n豆浆", "老 王 豆浆"),
        ("Café 咖啡", "Café 咖啡"),
        ("★★★ 三星", "★★★ 三星"),
        ("", ""),
    ],
)
def test_emoji_go_without_a_word(written: str, printed: str) -> None:
    assert lettering(written).text == printed
    assert lettering(written).replaced == ()


@pytest.mark.parametrize(
    ("written", "printed", "replaced"),
    [
        ("𰻞𰻞面", "biángbiáng面", ("𰻞",)),
        ("𠮷野家", "吉野家", ("𠮷",)),
        ("\uf9dc记", "隆记", ()),
        ("ş𒀀店", f"s{STAND_IN}店", ("ş", "𒀀")),
    ],
)
def test_rare_characters_are_replaced_and_told(written: str, printed: str, replaced: tuple[str, ...]) -> None:
    found = lettering(written)
    assert (found.text, found.replaced) == (printed, replaced)


@given(st.text())
def test_nothing_is_left_that_would_print_as_a_box(written: str) -> None:
    assert all(ord(character) in covered() for character in lettering(written).text)


def test_names_people_really_have_are_printed_as_they_are() -> None:
    for character in "㛃䶮喆堃翀赟彧珺璟垚骉犇龘靐鱻囧槑氼":
        assert lettering(character).text == character


def test_the_fonts_are_those_that_were_published() -> None:
    sums = dict(line.split()[::-1] for line in (FONTS / "SHA256SUMS").read_text().splitlines())
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FONTS.glob("*.ttf")}
    assert "SIL Open Font License" in (FONTS / "OFL.txt").read_text()
