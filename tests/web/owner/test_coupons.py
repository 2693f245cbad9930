"""Coupons on the owners' pages: taken, held, shown, passed on, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy import text

from campaigns.coupons import redeeming
from core.database import Role
from core.runtime import Runtime
from tests.couponing import Street
from tests.web.owner.conftest import Phone, counts


@pytest.fixture
def town(runtime: Runtime) -> Street:
    return Street.open(runtime)


def public_id(runtime: Runtime, template_id: int) -> str:
    with runtime.transaction(Role.PLATFORM) as session:
        found = session.scalars(text("SELECT public_id FROM coupon_template WHERE id = :id"), {"id": template_id})
        return str(found.one())


def nonce_in(page: str) -> str:
    found = re.search(r'name="nonce" value="(\w+)"', page)
    assert found is not None, page
    return found[1]


def take(runtime: Runtime, phone: Phone, template_id: int) -> str:
    """Claim as the page does; returns the coupon's public id."""
    path = f"/m/c/{public_id(runtime, template_id)}"
    answer = phone.browser.post(path, {"nonce": nonce_in(phone.browser.get(path).text)})
    assert answer.status_code == 303, answer.text
    found = re.fullmatch(r"/m/coupons/(\w+)\?got=1", answer.location)
    assert found is not None
    return found[1]


def test_a_coupon_is_taken_seen_and_shown(runtime: Runtime, town: Street, owner_phone: Callable[[], Phone]) -> None:
    phone, shop = owner_phone(), town.shop("老王豆浆")
    template_id = town.live(shop)
    assert "满百减二十" in phone.browser.get(f"/m/shops/{shop}").text
    coupon = take(runtime, phone, template_id)
    page = phone.browser.get(f"/m/coupons/{coupon}?got=1").text
    assert "这张券是您的了" in page
    assert "满100元减20元" in page
    listed = phone.browser.get("/m/coupons").text
    assert f"/m/coupons/{coupon}" in listed
    assert "有 1 张券可以用" in phone.browser.get("/m/").text
    for path in ("/m/code", f"/m/coupons/{coupon}/code"):
        part = phone.browser.post(path, headers={"HX-Request": "true"})
        assert part.status_code == 200
        assert "<html" not in part.text
        assert "data:image/png" in part.text
        typed = re.search(r"</span>([0-9A-Z]{4}) ([0-9A-Z]{4})<", part.text)
        assert typed is not None
        with runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
            card = redeeming.look_up(
                session, runtime, merchant_id=shop, staff_id=1, shown=typed[1] + typed[2], now=runtime.now()
            )
        assert [one.public_id for one in card.coupons] == [coupon]
        assert card.one_coupon is (path != "/m/code")
        # Without JavaScript it is a page of its own.
        assert "<html" in phone.browser.post(path).text


def test_the_same_tap_twice_is_one_coupon(runtime: Runtime, town: Street, owner_phone: Callable[[], Phone]) -> None:
    """CO-6."""
    phone = owner_phone()
    template_id = town.live(town.shop(), per_person=5)
    other_id = town.live(town.shop("面馆"), per_person=5)
    path = f"/m/c/{public_id(runtime, template_id)}"
    nonce = nonce_in(phone.browser.get(path).text)
    first = phone.browser.post(path, {"nonce": nonce})
    again = phone.browser.post(path, {"nonce": nonce})
    assert first.location == again.location
    assert town.count(template_id) == 1
    assert phone.browser.post(f"/m/c/{public_id(runtime, other_id)}", {"nonce": nonce}).status_code == 422
    assert phone.browser.post(path, {"nonce": ""}).status_code == 400
    assert phone.browser.post(path, {"nonce": "n" * 65}).status_code == 400
    assert phone.browser.post(path, {"nonce": nonce, "seq": "2"}).status_code == 422
    assert town.count(template_id) == 1
    assert town.count(other_id) == 0


@pytest.mark.parametrize(
    "given", [{}, {"b": "1"}, {"b": "9" * 18}, {"b": "-1"}, {"q": "nothing"}, {"b": "x", "q": "'"}, {"q": "q" * 300}]
)
def test_no_way_of_coming_gives_more_than_the_limit(
    runtime: Runtime, town: Street, owner_phone: Callable[[], Phone], given: dict[str, str]
) -> None:
    """CO-2: whatever the link says of itself."""
    phone = owner_phone()
    template_id = town.live(town.shop(), per_person=1)
    path = f"/m/c/{public_id(runtime, template_id)}"
    take(runtime, phone, template_id)
    refused = phone.browser.post(path, {"nonce": "another", **given})
    assert refused.status_code == 409
    assert "上限" in refused.text
    assert town.count(template_id) == 1


@pytest.mark.parametrize("given", [{}, {"b": "1"}, {"q": "anything"}])
def test_a_coupon_given_by_the_merchants_own_ways_is_not_had_by_a_made_up_link(
    runtime: Runtime, town: Street, owner_phone: Callable[[], Phone], given: dict[str, str]
) -> None:
    phone = owner_phone()
    template_id = town.live(town.shop(), is_public=False)
    path = f"/m/c/{public_id(runtime, template_id)}"
    assert "免费领取" not in phone.browser.get(path, query_string=given).text
    assert phone.browser.post(path, {"nonce": "n", **given}).status_code == 409
    assert town.count(template_id) == 0


def test_the_merchants_own_words_refuse(runtime: Runtime, town: Street, owner_phone: Callable[[], Phone]) -> None:
    template_id = town.live(town.shop(), stock=1, refusals={"sold_out": "老王说：明早再来"})
    take(runtime, owner_phone(), template_id)
    late = owner_phone()
    path = f"/m/c/{public_id(runtime, template_id)}"
    assert "老王说：明早再来" in late.browser.get(path).text
    assert "老王说：明早再来" in late.browser.post(path, {"nonce": "n"}).text


def test_looking_changes_nothing(runtime: Runtime, town: Street, owner_phone: Callable[[], Phone]) -> None:
    """AU-4."""
    phone, shop = owner_phone(), town.shop()
    template_id = town.live(shop)
    coupon = take(runtime, phone, template_id)
    tables = ("coupon", "shown_code", "answered_call", "coupon_gift", "points_account", "points_transfer")
    before = counts(runtime, *tables)
    for path in ("/m/", "/m/coupons", f"/m/coupons/{coupon}", f"/m/c/{public_id(runtime, template_id)}", "/m/points",
                 f"/m/points/{shop}", "/m/shops", f"/m/shops/{shop}", "/m/settings", "/m/privacy"):  # fmt: skip
        assert phone.browser.get(path).status_code == 200, path
    assert counts(runtime, *tables) == before


def test_a_coupon_is_passed_on_once(runtime: Runtime, town: Street, owner_phone: Callable[[], Phone]) -> None:
    ann, ben, cat = (owner_phone() for _ in range(3))
    coupon = take(runtime, ann, town.live(town.shop(), is_transferable=True))
    ann.browser.get(f"/m/coupons/{coupon}")
    page = ann.browser.post(f"/m/coupons/{coupon}/pass").text
    found = re.search(r"/m/gift/([\w-]+)<", page)
    assert found is not None
    path = f"/m/gift/{found[1]}"
    assert "这是您自己转出的链接" in ann.browser.get(path).text
    assert ann.browser.post(path).status_code == 409
    cat.browser.get(path)
    assert "收下" in ben.browser.get(path).text
    got = ben.browser.post(path)
    assert got.status_code == 303
    assert ben.browser.get(got.location).status_code == 200
    assert cat.browser.post(path).status_code == 409
    assert "已转给别人" in ann.browser.get(f"/m/coupons/{coupon}").text
    assert "满百减二十" not in ann.browser.get("/m/coupons").text
    assert "满百减二十" in ann.browser.get("/m/coupons?show=used").text


def test_a_link_taken_back_leads_nowhere(runtime: Runtime, town: Street, owner_phone: Callable[[], Phone]) -> None:
    ann, ben = owner_phone(), owner_phone()
    coupon = take(runtime, ann, town.live(town.shop(), is_transferable=True))
    ann.browser.get(f"/m/coupons/{coupon}")
    found = re.search(r"/m/gift/([\w-]+)<", ann.browser.post(f"/m/coupons/{coupon}/pass").text)
    assert found is not None
    assert ann.browser.post(f"/m/coupons/{coupon}/keep").status_code == 303
    answer = ben.browser.get(f"/m/gift/{found[1]}")
    assert answer.status_code == 409
    assert 'href="/m/"' in answer.text


NOBODYS = {"coupon": "nobodyscoupon", "shop": 9_000_000_000_000_001}


def test_nobody_sees_or_uses_what_is_somebody_elses(
    runtime: Runtime, town: Street, owner_phone: Callable[[], Phone]
) -> None:
    """#63: every way to name another's coupon is as one that does not exist, and writes nothing."""
    ann, ben, shop = owner_phone(), owner_phone(), town.shop()
    theirs = take(runtime, ben, town.live(shop, is_transferable=True))
    ann.browser.get("/m/settings")
    tables = ("coupon", "shown_code", "coupon_gift", "answered_call")
    before = counts(runtime, *tables)
    for method, path in (("GET", ""), ("POST", "/code"), ("POST", "/pass"), ("POST", "/keep")):
        answers = []
        for one in (theirs, NOBODYS["coupon"]):
            send = ann.browser.get if method == "GET" else ann.browser.post
            answer = send(f"/m/coupons/{one}{path}")
            answers.append((answer.status_code, "没有这张券" in answer.text or "没有找到" in answer.text))
        assert answers == [(404, True)] * 2, path
    assert "满百减二十" not in ann.browser.get("/m/coupons").text
    assert counts(runtime, *tables) == before
    # The control: to its holder it is there.
    assert ben.browser.get(f"/m/coupons/{theirs}").status_code == 200


def test_plain_sql_as_an_owner_sees_nobody_elses_rows(
    runtime: Runtime, town: Street, owner_phone: Callable[[], Phone]
) -> None:
    """TN-2, #63: in every table that says whose a row is."""
    ann, ben = owner_phone(), owner_phone()
    take(runtime, ben, town.live(town.shop()))
    ben.browser.post("/m/code")
    with runtime.transaction(Role.PLATFORM) as session:
        tables = session.scalars(
            text("""
                SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                  AND a.attname = 'follower_id' AND has_column_privilege('quanma_fan', c.oid, a.attnum, 'SELECT')""")
        ).all()
    assert {"coupon", "shown_code", "owner_session", "points_account", "fan", "visit"} <= set(tables)

    def seen(name: str, by: Phone) -> int:
        with runtime.transaction(Role.FAN, follower_id=by.follower_id) as session:
            query = text(f"SELECT count(*) FROM {name} WHERE follower_id = :id")  # noqa: S608
            return int(session.execute(query, {"id": ben.follower_id}).scalar_one())

    # An invitation card is shown to everybody who is given its address.
    assert {name for name in tables if seen(name, ann)} <= {"invite"}
    assert seen("coupon", ben) == seen("shown_code", ben) == 1


def test_a_snapshot_visitor_takes_nothing(runtime: Runtime, town: Street, owner_phone: Callable[[], Phone]) -> None:
    """AU-2, #57."""
    from merchants import owners

    template_id = town.live(town.shop())
    phone = owner_phone()
    phone.browser.get("/m/settings")
    with runtime.transaction(Role.PLATFORM) as session:
        phone.browser.client.set_cookie("owner", owners.begin(session, follower_id=None, now=runtime.now()))
    path = f"/m/c/{public_id(runtime, template_id)}"
    assert "现在是预览" in phone.browser.get(path).text
    assert phone.browser.get("/m/shops").status_code == 200
    for posted in (path, "/m/code", "/m/settings/news/mute", "/m/privacy/delete"):
        refused = phone.browser.post(posted, {"nonce": "n"})
        assert (refused.status_code, "使用完整服务" in refused.text) == (403, True), posted
    assert counts(runtime, "coupon", "shown_code", "opt_out") == [0, 0, 0]
