"""The site in English: every text has one, refusals too, and what people wrote stays as they wrote it."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask_babel import force_locale

from campaigns.coupons.templates import Draft
from campaigns.coupons.validity import period_line, worked_examples
from core.clock import SHANGHAI
from core.errors import BusinessError, Invalid, NotFound, Phrase
from core.runtime import Runtime
from merchants.merchants import DEFAULT_COMMUNITY
from merchants.wording import FOLLOW_ADVICE, refuse_bad_wording
from qrcodes.welcomes import MERCHANT_WORDS, PLATFORM_WORDS, fill
from tests.community import Neighbourhood
from tests.web.conftest import Browser
from tests.web.shops import Shop, open_shop
from web.benefit_words import line_words, promise_words
from web.language import refusal_text

ROOT = Path(__file__).resolve().parents[2]
HAN = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff01-\uff5e]+")
IN_CHINESE_ON_PURPOSE = re.compile(r'<(\w+)[^>]*\blang="zh-CN"[^>]*>.*?</\1>|<!--.*?-->', re.DOTALL)
PLACES = {"商户": "Wang's Soy Milk", "社区": DEFAULT_COMMUNITY, "码": "Till", "位置": ""}
TOLD_TO_CUSTOMERS = [
    message.text for words in (MERCHANT_WORDS, PLATFORM_WORDS) for one in words.values() for message in one
]
WRITTEN_BY_PEOPLE = (
    *(fill(text, PLACES) for text in TOLD_TO_CUSTOMERS),
    *TOLD_TO_CUSTOMERS,
    "{社区|我们这里}",
    DEFAULT_COMMUNITY,
    *PLACES,
    "员工",
)
"""What stays as it is in every language: names, and what customers are told."""

SHOP = (
    "/merchant/", "/merchant/codes", "/merchant/codes?state=retired", "/merchant/codes/new", "/merchant/fans",
    "/merchant/welcome", "/merchant/welcome/first/0", "/merchant/me", "/merchant/me/card", "/merchant/me/staff",
    "/merchant/alliance", "/merchant/coupons", "/merchant/points", "/merchant/redemptions",
    "/merchant/redemptions/liability", "/merchant/referrals", "/merchant/till", "/auth/account",
)  # fmt: skip
DESK = (
    "/operator/", "/operator/?span=custom", "/operator/approvals", "/operator/audit", "/operator/benefits",
    "/operator/benefits/alliance", "/operator/benefits/blocked", "/operator/benefits/ledgers",
    "/operator/benefits/owed", "/operator/benefits/redemptions", "/operator/benefits/referrals",
    "/operator/benefits/referrals/inviters", "/operator/codes",
    "/operator/codes/adopt", "/operator/codes/new", "/operator/events", "/operator/followers", "/operator/health",
    "/operator/merchants", "/operator/merchants/new", "/operator/queues", "/operator/settings",
    "/operator/unmatched", "/auth/account",
)  # fmt: skip


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Shop:
    shop = open_shop(app, Neighbourhood(runtime), new_staff, "Wang's Soy Milk", "owner", label="Till")
    shop.loses(shop.welcomes_somebody())
    shop.welcomes_somebody()
    return shop


@pytest.fixture
def operator(app: Flask, new_staff: Callable[..., int]) -> Browser:
    new_staff("operator")
    browser = Browser(app.test_client())
    assert browser.sign_in("operator").status_code == 303
    return browser


def left_in_chinese(page: str) -> list[str]:
    page = html.unescape(IN_CHINESE_ON_PURPOSE.sub("", page))
    for words in WRITTEN_BY_PEOPLE:
        page = page.replace(words, "")
    return HAN.findall(page)


def left_on_pages(browser: Browser, paths: Iterable[str]) -> dict[str, list[str]]:
    return {path: left for path in paths if (left := left_in_chinese(browser.get(path).text))}


def test_every_text_has_english_and_is_compiled() -> None:
    program = [sys.executable, "tools/translations.py", "--check"]
    answer = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_pages_of_a_shop_are_english(shop: Shop) -> None:
    owner = shop.owner
    owner.get("/language/en")
    paths = [*SHOP, f"/merchant/codes/{shop.code.id}", *(f"/merchant/fans/{number}" for number in shop.numbers())]
    assert left_on_pages(owner, paths) == {}


def test_pages_of_the_operators_are_english(shop: Shop, operator: Browser) -> None:
    operator.get("/language/en")
    paths = [*DESK, f"/operator/codes/{shop.code.id}", f"/operator/merchants/{shop.merchant_id}"]
    assert left_on_pages(operator, paths) == {}


def test_what_anybody_sees_is_english(shop: Shop, browser: Browser) -> None:
    browser.get("/language/en")
    paths = ("/", "/auth/sign-in", "/auth/invitation/spent", "/nowhere", "/merchant/")
    assert left_on_pages(browser, paths) == {}


def test_a_browser_that_asks_for_english_gets_it(browser: Browser) -> None:
    assert 'lang="en"' in browser.get("/auth/sign-in", headers={"Accept-Language": "en-GB,zh;q=0.5"}).text
    assert 'lang="zh-CN"' in browser.get("/auth/sign-in", headers={"Accept-Language": "fr"}).text


@pytest.mark.parametrize(
    ("refusal", "chinese", "english"),
    [
        (NotFound(), "没有找到。", "Not found."),
        (
            Invalid("%(name)s最多 %(longest)s 个字。", name=Phrase("名称"), longest=30),
            "名称最多 30 个字。",
            "“Name” has at most 30 characters.",
        ),
        (
            Invalid("没有“{%(name)s}”这个占位，可以用的有：%(known)s。", name="名称", known="{码}"),
            "没有“{名称}”这个占位，可以用的有：{码}。",
            "There is no placeholder “{名称}”; you can use {码}.",
        ),
    ],
)
def test_refusals_speak_the_visitors_language(app: Flask, refusal: BusinessError, chinese: str, english: str) -> None:
    """Words of ours in a sentence are translated with it; what people typed stays."""
    with app.test_request_context():
        assert refusal_text(refusal) == refusal.message == chinese
        with force_locale("en"):
            assert refusal_text(refusal) == english


def test_what_a_coupon_promises_is_english_with_its_days(app: Flask) -> None:
    draft = Draft("x", lasts_days=30, min_spend_fen=3_000, weekdays=0b0000011, hours=((660, 840), (1_020, 1_260)))
    draft = replace(draft, except_dates=(date(2026, 12, 24),))
    with app.test_request_context():
        assert "仅周一、周二可用" in promise_words(draft)
        assert "12月24日不可用" in promise_words(draft)
        with force_locale("en"):
            promised = promise_words(draft)
            examples = worked_examples(draft, now=datetime(2026, 12, 1, tzinfo=SHANGHAI))
            worked = [line_words(one.line) for one in examples]
    assert "Only on Mon, Tue" in promised
    assert "Every day 11:00–14:00, 17:00–21:00" in promised
    assert "Not on 24 Dec" in promised
    assert HAN.findall(" ".join(promised + worked)) == []


def test_fixed_dates_of_a_coupon_are_spelt_in_the_visitors_language(app: Flask) -> None:
    begins = datetime(2026, 11, 23, tzinfo=SHANGHAI)
    line = period_line(begins, begins + timedelta(days=3, hours=12))
    with app.test_request_context():
        assert line_words(line) == str(line) == "2026年11月23日 至 2026年11月26日 12:00"
        with force_locale("en"):
            assert line_words(line) == "23 Nov 2026 to 26 Nov 2026 12:00"


def test_advice_about_wording_is_english_around_the_quoted_words(app: Flask) -> None:
    with app.test_request_context(), force_locale("en"), pytest.raises(Invalid) as refused:
        refuse_bad_wording("关注就送豆浆", field="text")
    assert FOLLOW_ADVICE in refused.value.message
    with app.test_request_context(), force_locale("en"):
        english = refusal_text(refused.value)
    assert english.startswith(f"“{refused.value.detail['words']}” cannot be used: ")
    assert HAN.findall(english.replace(refused.value.detail["words"], "")) == []
