"""The owners' pages in English."""

from collections.abc import Callable

import pytest

from tests.web.owner.conftest import Phone
from tests.web.test_translations import left_on_pages

PAGES = ("/m/", "/m/coupons", "/m/points", "/m/privacy", "/m/settings", "/m/shops")


def test_pages_of_somebody_who_opens_them_in_wechat_are_english(owner_phone: Callable[[], Phone]) -> None:
    phone = owner_phone()
    phone.browser.get("/language/en")
    assert left_on_pages(phone.browser, PAGES) == {}


@pytest.mark.parametrize("words", ["delete", " Delete ", "删除"])
def test_the_word_that_deletes_is_english_on_english_pages(owner_phone: Callable[[], Phone], words: str) -> None:
    """On Chinese ones it is not (`test_nothing_is_deleted_by_mistake`)."""
    phone = owner_phone()
    phone.browser.get("/language/en")
    assert "write “delete” here" in phone.browser.get("/m/privacy").text
    assert phone.browser.post("/m/privacy/delete", {"agreed": "yes"}).status_code == 422
    assert phone.browser.post("/m/privacy/delete", {"agreed": words}).status_code == 200
    assert phone.browser.get("/m/privacy").status_code == 302
