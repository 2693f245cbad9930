"""Whatever colour a shop likes, its words can be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from qrcodes.posters import colours


@given(st.integers(0, 0xFFFFFF).map("#{:06x}".format))
def test_words_are_readable_on_every_colour(colour: str) -> None:
    shades = colours.shades(colour)
    assert colours.contrast("#ffffff", shades.field) >= 4.5
    assert colours.contrast("#ffffff", shades.rings[0]) >= 4.5
    for words in (shades.ink, shades.quiet, shades.deep):
        assert colours.contrast(words, shades.paper) >= 4.5
        assert colours.contrast(words, "#ffffff") >= 4.5


def test_a_dark_colour_stays_what_it_is() -> None:
    for colour in colours.PALETTE:
        assert colours.shades(colour).field == colour


@pytest.mark.parametrize("colour", ["red", "#fff", "#12345g", "#1234567", "url(x)", '#000000"'])
def test_what_is_no_colour_is_refused(colour: str) -> None:
    with pytest.raises(Invalid):
        colours.checked(colour)


def test_none_is_the_first_of_the_palette() -> None:
    assert colours.checked("") == colours.DEFAULT
    assert colours.checked(" #0B6B4F ") == "#0b6b4f"
