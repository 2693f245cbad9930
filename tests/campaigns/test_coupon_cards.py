"""Coupon cards: what a broadcast and a welcome may carry, how it leads to the coupon, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bot.inbox import Inbox
from campaigns.broadcasts import aftermath, content, links, writing
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import WordsKind
from campaigns.broadcasts.writing import Draft
from campaigns.coupons import cards, giving
from campaigns.coupons.cards import Way
from campaigns.coupons.models import Channel, CouponTemplate
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from core.runtime import Runtime
from merchants.wording import link_hosts
from qrcodes import welcomes
from qrcodes.models import WelcomeVariant
from tests import couponing
from tests.campaigns.desk import Desk
from tests.community import new_openid, scanned, subscribed


@pytest.fixture
def desk(runtime: Runtime) -> Desk:
    return Desk(runtime)


@pytest.fixture
def coupon(desk: Desk) -> int:
    return couponing.live_template(desk.runtime, desk.id)


def refused(kind: type[BusinessError], act: Callable[[], object]) -> BusinessError:
    with pytest.raises(kind) as refusal:
        act()
    return refusal.value


def told(
    template_id: int, said: str = "新茶到了，来坐坐", *, kind: WordsKind = WordsKind.TEXT, **more: object
) -> Draft:
    return Draft({"a": Words(kind, said, template_id=template_id, **more)})  # type: ignore[arg-type]


def public_id(desk: Desk, template_id: int) -> str:
    with desk.runtime.transaction(Role.PLATFORM) as session:
        return session.get_one(CouponTemplate, template_id).public_id


def way(desk: Desk, template_id: int, **given: str) -> Way | None:
    """As the page asks that an owner opens."""
    with desk.runtime.transaction(Role.FAN, follower_id=desk.follower(desk.openids[0])) as session:
        template = session.get_one(CouponTemplate, template_id)
        return cards.way(session, template=template, given=given)


def test_the_agreed_text_ends_with_the_card_and_our_own_short_link(desk: Desk, coupon: int) -> None:
    broadcast_id = desk.approved(told(coupon))
    said = desk.words(broadcast_id)["a"].text
    found = re.fullmatch(rf'新茶到了，来坐坐\n<a href="({re.escape(desk.public_url)}/s/(\w+))">领取“八折券”</a>', said)
    assert found
    with desk.runtime.transaction(Role.FAN) as session:
        link = links.target_of(session, found[2])
    target = f"{desk.public_url}/m/c/{public_id(desk, coupon)}?b={broadcast_id}"
    assert link is not None
    assert link[2] == target
    evidence = desk.get(broadcast_id).evidence
    assert evidence is not None
    assert (evidence["words"]["a"]["text"], evidence["words"]["a"]["template_id"]) == (said, coupon)
    assert evidence["as_written"]["a"]["template_id"] == coupon


def test_an_article_carries_it_at_the_end_of_its_body(desk: Desk, coupon: int) -> None:
    draft = told(coupon, "请来喝茶", kind=WordsKind.ARTICLE, title="新茶", summary="到了", picture_id=desk.picture())
    words = desk.words(desk.approved(draft))["a"]
    assert words.text.startswith("请来喝茶\n<a href=")
    assert words.text.endswith("领取“八折券”</a>")
    assert content.first_link(words.text).startswith(f"{desk.public_url}/s/")
    assert "<p><a href=" in content.html_of(words.text)


def test_a_drafts_preview_shows_the_card(desk: Desk, coupon: int) -> None:
    broadcast_id = desk.write(told(coupon))
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        shown = content.load(session, broadcast_id, public_url=desk.public_url)["a"].text
        listed = content.load(session, broadcast_id)["a"].text
    assert content.pieces(shown)[-1] == (
        "领取“八折券”", f"{desk.public_url}/m/c/{public_id(desk, coupon)}?b={broadcast_id}"
    )  # fmt: skip
    assert (content.in_plain(shown), listed) == ("新茶到了，来坐坐\n领取“八折券”", "新茶到了，来坐坐")


def test_what_a_card_may_not_be(desk: Desk, coupon: int) -> None:
    other = Desk(desk.runtime, "花店")
    foreign = couponing.live_template(desk.runtime, other.id, "鲜花券")
    ended = couponing.live_template(desk.runtime, desk.id, "旧券", state="ended")
    broadcast_id = desk.write(told(coupon))
    refused(NotFound, lambda: desk.save(broadcast_id, told(foreign)))
    assert refused(Invalid, lambda: desk.save(broadcast_id, told(ended))).field == "template"  # type: ignore[attr-defined]
    picture = told(coupon, "", kind=WordsKind.PICTURE, picture_id=desk.picture())
    assert refused(Invalid, lambda: desk.save(broadcast_id, picture)).field == "template"  # type: ignore[attr-defined]
    two = Draft({"a": Words(WordsKind.TEXT, "甲", template_id=coupon), "b": Words(WordsKind.TEXT, "乙")})
    assert refused(Invalid, lambda: desk.save(broadcast_id, two)).field == "template"  # type: ignore[attr-defined]
    # The line of the card counts as well.
    refused(Invalid, lambda: desk.save(broadcast_id, told(coupon, "豆" * 675)))
    desk.save(broadcast_id, told(coupon, "豆" * 600))
    assert desk.words(broadcast_id)["a"].template_id == coupon


def test_words_beside_a_coupon_ask_for_nothing(desk: Desk, coupon: int) -> None:
    for said in ("谢谢关注！", "转发给邻居，大家都来", "Follow us"):
        broadcast_id = desk.write(told(coupon, said))
        assert refused(writing.BadWording, lambda broadcast_id=broadcast_id: desk.submit(broadcast_id))  # type: ignore[misc]
    desk.submit(desk.write("谢谢关注！"))


def test_a_coupon_that_ends_meanwhile_stops_the_broadcast(desk: Desk, coupon: int) -> None:
    first, second = desk.write(told(coupon)), desk.write(told(coupon))
    desk.submit(first)
    couponing.set_state(desk.runtime, coupon, "paused")
    refused(Invalid, lambda: desk.approve(first))
    refused(Invalid, lambda: desk.submit(second))
    couponing.set_state(desk.runtime, coupon, "live")
    desk.approve(first)


def test_only_an_agreed_broadcast_vouches_for_its_link(desk: Desk, coupon: int) -> None:
    draft, agreed = desk.write(told(coupon)), desk.approved(told(coupon))
    other = couponing.live_template(desk.runtime, desk.id, "另一张")
    assert way(desk, coupon, b=str(agreed)) == Way(Channel.BROADCAST, f"broadcast:{agreed}")
    assert way(desk, coupon, b=str(draft)) is None
    assert way(desk, other, b=str(agreed)) is None
    for odd in ("", "0", "-1", "x", "１", "9" * 40, f"{agreed}'"):
        assert way(desk, coupon, b=odd) is None


def test_names_are_neither_markup_nor_placeholders(desk: Desk) -> None:
    odd = couponing.live_template(desk.runtime, desk.id, '{编号}<b>"大"</b>')
    said = desk.words(desk.approved(told(odd)))["a"].text
    assert content.fill(said, {"编号": "X"}) == said
    assert content.pieces(said)[-1][0] == "领取“（编号）〈b〉＂大＂〈/b〉”"


def test_the_report_counts_taps_taken_and_redeemed(desk: Desk, coupon: int) -> None:
    broadcast_id = desk.approved(told(coupon))
    first, second, third = (desk.follower(one) for one in desk.openids)
    cause = f"broadcast:{broadcast_id}"
    couponing.redeem(desk.runtime, couponing.hold(desk.runtime, coupon, first, cause=cause, channel="broadcast"))
    undone = couponing.hold(desk.runtime, coupon, second, cause=cause, channel="broadcast")
    couponing.redeem(desk.runtime, undone, reversed_=True)
    couponing.hold(desk.runtime, coupon, third)
    with desk.runtime.transaction(Role.PLATFORM) as session:
        link = session.execute(text("SELECT id FROM short_link")).scalar_one()
        for visitor in (b"one", b"one", b"two"):
            links.note_tap(session, link_id=link, merchant_id=desk.id, visitor=visitor)
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        found = aftermath.aftermath(session, desk.get(broadcast_id), now=desk.runtime.now()).coupon
    assert found is not None
    assert (found.taps, found.visitors, found.taken, found.redeemed) == (3, 2, 2, 1)
    plain = desk.approved("没有券的")
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        assert aftermath.aftermath(session, desk.get(plain), now=desk.runtime.now()).coupon is None


def test_a_copy_carries_it_and_a_template_does_not(desk: Desk, coupon: int) -> None:
    broadcast_id = desk.write(told(coupon))
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        copied = writing.copy(session, merchant_id=desk.id, broadcast_id=broadcast_id, staff_id=7)
        writing.keep_template(session, merchant_id=desk.id, broadcast_id=broadcast_id, name="上新")
        assert writing.templates(session, merchant_id=desk.id)[0].words.template_id is None
        assert content.written(session, copied)["a"].template_id == coupon


# ---- Welcomes --------------------------------------------------------------------------------------------------------


def greet(
    desk: Desk,
    said: str = "欢迎来喝茶",
    variant: WelcomeVariant = WelcomeVariant.FIRST,
    *,
    kind: str = "text",
    code_id: int | None = None,
    position: int = 0,
    **more: Any,
) -> None:
    """The shop's owner writes a welcome, and the operator agrees."""
    draft = welcomes.Draft(kind, said if kind != "news" else "", title=said if kind == "news" else "", **more)
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        number = welcomes.save(
            session, merchant_id=desk.id, code_id=code_id, variant=variant, position=position, draft=draft,
            hosts=link_hosts(desk.public_url), now=desk.runtime.now(),
        )  # fmt: skip
    with desk.runtime.transaction(Role.PLATFORM) as session:
        welcomes.approve(session, welcome_id=number, operator_id=8, now=desk.runtime.now())


def heard(desk: Desk, *, known: bool) -> str:
    """What somebody reads who scans the shop's code: a newcomer, or who follows already."""
    inbox, openid = Inbox(desk.runtime), new_openid() if not known else desk.openids[0]
    desk.street.now += timedelta(seconds=1)
    told = scanned if known else subscribed
    (reply,) = inbox.receive([told(openid, desk.street.now, desk.code.scene)])
    return reply or ""


def code_name(desk: Desk) -> str:
    with desk.runtime.transaction(Role.PLATFORM) as session:
        return str(session.scalar(text("SELECT public_id FROM sub_qr_code WHERE id = :id"), {"id": desk.code.id}))


def test_a_welcome_carries_it_for_newcomers_and_everybody_else_alike(desk: Desk, coupon: int) -> None:
    greet(desk, template_id=coupon)
    line = f'<a href="{desk.public_url}/m/c/{public_id(desk, coupon)}?q={code_name(desk)}">领取“八折券”</a>'
    assert f"欢迎来喝茶\n{line}]]>" in heard(desk, known=False)
    assert f"您好，欢迎光临茶馆！\n{line}]]>" in heard(desk, known=True)
    assert way(desk, coupon, q=code_name(desk)) == Way(Channel.SCAN, f"scan:{desk.code.id}", desk.code.id)


def test_the_newest_coupon_goes_with_all_of_them_and_none_that_is_over(desk: Desk, coupon: int) -> None:
    later = couponing.live_template(desk.runtime, desk.id, "送茶券")
    greet(desk, template_id=coupon)
    greet(desk, "又见面了", WelcomeVariant.ALREADY, template_id=later)
    for known in (True, False):
        assert "领取“送茶券”" in heard(desk, known=known)
    couponing.set_state(desk.runtime, later, "paused")
    for known in (True, False):
        assert "领取" not in heard(desk, known=known)


def test_no_coupon_stands_beside_words_about_following(desk: Desk, coupon: int) -> None:
    greet(desk, template_id=coupon)
    greet(desk, "谢谢关注我们", WelcomeVariant.ALREADY)
    for known in (True, False):
        assert "领取" not in heard(desk, known=known)
    assert isinstance(refused(Invalid, lambda: greet(desk, "谢谢关注", template_id=coupon)), Invalid)


def test_a_card_of_news_leads_to_the_coupon_and_a_picture_is_said_as_its_text(desk: Desk, coupon: int) -> None:
    greet(desk, "新茶到了", kind="news", url=f"{desk.public_url}/about", template_id=coupon)
    greet(desk, "看看菜单", WelcomeVariant.ALREADY, kind="image", picture_id=desk.picture())
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE picture SET media_id = 'm1', wechat_url = 'http://mmbiz.qpic.cn/1'"))
    newcomer = heard(desk, known=False)
    assert f"/m/c/{public_id(desk, coupon)}?q=" in newcomer
    assert "<Description><![CDATA[领取“八折券”]]>" in newcomer
    assert "看看菜单\n<a href=" in heard(desk, known=True)


def test_what_a_welcome_may_not_carry(desk: Desk, coupon: int) -> None:
    foreign = couponing.live_template(desk.runtime, Desk(desk.runtime, "花店").id, "鲜花券")
    ended = couponing.live_template(desk.runtime, desk.id, "旧券", state="ended")
    refused(NotFound, lambda: greet(desk, template_id=foreign))
    cases: list[dict[str, Any]] = [
        {"template_id": ended},
        {"template_id": coupon, "position": 1},
        {"template_id": coupon, "kind": "image", "picture_id": desk.picture()},
        {"template_id": coupon, "said": "转发给朋友"},
        {"template_id": coupon, "said": "豆" * 600},
    ]
    for case in cases:
        refused(Invalid, lambda case=case: greet(desk, **case))  # type: ignore[misc]
    assert "领取" not in heard(desk, known=False)


def test_only_a_welcome_in_force_vouches_for_its_code(desk: Desk, coupon: int) -> None:
    name = code_name(desk)
    assert way(desk, coupon, q=name) is None
    greet(desk, template_id=coupon)
    other = couponing.live_template(desk.runtime, desk.id, "另一张")
    neighbour = Desk(desk.runtime, "花店")
    assert way(desk, coupon, q=name) is not None
    assert [way(desk, other, q=name), way(desk, coupon, q=code_name(neighbour)), way(desk, coupon, q="x")] == [None] * 3
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        welcomes.withdraw(session, merchant_id=desk.id, code_id=None, variant=WelcomeVariant.FIRST, position=0)
    assert way(desk, coupon, q=name) is None


def test_by_one_broadcast_and_one_code_everybody_has_one(desk: Desk) -> None:
    coupon = couponing.live_template(desk.runtime, desk.id, per_person=9, is_public=False)
    greet(desk, template_id=coupon)
    broadcast_id = desk.approved(told(coupon))
    follower_id = desk.follower(desk.openids[0])
    for given in ({"b": str(broadcast_id)}, {"q": code_name(desk)}, {"b": str(broadcast_id)}, {"q": code_name(desk)}):
        came = way(desk, coupon, **given)
        assert came is not None
        with desk.runtime.transaction(Role.FAN, follower_id=follower_id) as session:
            giving.grant(
                session, template_id=coupon, follower_id=follower_id, cause=came.cause, channel=came.channel,
                code_id=came.code_id, now=desk.runtime.now(),
            )  # fmt: skip
    with desk.runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(text("SELECT channel, cause, code_id FROM coupon ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [
        ("broadcast", f"broadcast:{broadcast_id}", None), ("scan", f"scan:{desk.code.id}", desk.code.id),
    ]  # fmt: skip
