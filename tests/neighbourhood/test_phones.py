"""Numbers that ring."""

from __future__ import annotations

import pytest

from community.directory.phones import dialled, shown, tidy
from core.errors import Invalid


@pytest.mark.parametrize(
    ("written", "stored", "read"),
    [
        ("138 0013 8000", "13800138000", "13800138000"),
        ("+86-138-0013-8000", "13800138000", "13800138000"),
        ("１３８００１３８０００", "13800138000", "13800138000"),
        ("0551-6555 0000", "055165550000", "0551-65550000"),
        ("（010）62345678", "01062345678", "010-62345678"),
        ("0551-65550000 转 801", "055165550000-801", "0551-65550000-801"),
        ("65550000", "65550000", "65550000"),
        ("400-820-8820", "4008208820", "400-820-8820"),
        ("400 820 8820 转 2", "4008208820-2", "400-820-8820-2"),
        ("110", "110", "110"),
        ("12345", "12345", "12345"),
        ("95598", "95598", "95598"),
        ("10086", "10086", "10086"),
    ],
)
def test_a_number_has_one_spelling(written: str, stored: str, read: str) -> None:
    assert tidy(written) == stored
    assert shown(stored) == read


@pytest.mark.parametrize("written", ["", "12", "1380013800", "138001380001", "电话", "0551", "微信 zhang", "023-1234"])
def test_what_cannot_be_called_is_refused(written: str) -> None:
    with pytest.raises(Invalid):
        tidy(written)


def test_an_extension_is_dialled_after_a_pause() -> None:
    assert dialled("055165550000-801") == "055165550000,801"
