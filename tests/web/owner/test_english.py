"""The owners' pages in English."""

from collections.abc import Callable

from tests.web.owner.conftest import Phone
from tests.web.test_translations import left_on_pages

PAGES = ("/m/", "/m/coupons", "/m/points", "/m/privacy", "/m/settings", "/m/shops")


def test_pages_of_somebody_who_opens_them_in_wechat_are_english(owner_phone: Callable[[], Phone]) -> None:
    phone = owner_phone()
    phone.browser.get("/language/en")
    # The word that confirms a deletion is the same in every language.
    assert left_on_pages(phone.browser, PAGES) == {"/m/privacy": ["删除"]}
