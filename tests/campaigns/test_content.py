"""Words of broadcasts: placeholders, lengths, links and what each way of sending makes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from campaigns.broadcasts import content, links
from campaigns.broadcasts.content import NotUploaded, Words
from campaigns.broadcasts.models import BroadcastWords, ShortLink, WordsKind
from campaigns.broadcasts.writing import Draft
from core.database import Role
from core.errors import Invalid
from core.runtime import Runtime
from merchants.models import Picture
from merchants.wording import Severity, link_hosts
from tests.campaigns.desk import Desk
from tests.conftest import Sandbox
from wechat.mass import MassArticles, MassImage, MassText
from wechat.replies import ImageReply, NewsReply, TextReply

URL = "https://quanma.example"
SHOP = {"商户": "茶馆", "社区": "翠园"}


def checked(words: Words) -> Words:
    return content.check(words, shop=SHOP, public_url=URL)


def said(words: str) -> Words:
    return Words(WordsKind.TEXT, words)


@pytest.mark.parametrize(
    ("words", "field", "sentence"),
    [
        (said("豆" * 683), "text", "文字太长"),
        # 600 characters and a name of up to 32 that may take four bytes each.
        (said("豆" * 650 + "{商户}"), "text", "文字太长"),
        # A short link is longer than what it stands for.
        (said("豆" * 672 + " weixin.qq.com"), "text", "文字太长"),
        (said("你好{名字}"), "text", "没有“{名字}”这个占位"),
        (said("您{上次来}来过"), "text", "要写上备用的话"),
        (said("您{上次来| }来过"), "text", "要写上备用的话"),
        (Words(WordsKind.ARTICLE, "正文", title="题" * 33), "title", "最多 32 个字"),
        (Words(WordsKind.ARTICLE, "正文", title="题" * 30 + "{商户}"), "title", "最多 32 个字"),
        (Words(WordsKind.ARTICLE, "正文", title="题", summary="摘" * 129), "summary", "最多 128 个字"),
        (Words(WordsKind.ARTICLE, "文" * 15_001, title="题"), "text", "最多 15000 个字"),
        (Words(WordsKind.ARTICLE, "&" * 6_000, title="题"), "text", "正文太长了"),
        (Words(WordsKind.ARTICLE, "正文", title="{上次来|好}"), "title", "没有“{上次来}”这个占位"),
        (said("看不见\u202e"), "text", "看不见的特殊字符"),
    ],
)
def test_what_cannot_be_a_draft(words: Words, field: str, sentence: str) -> None:
    with pytest.raises(Invalid) as refusal:
        checked(words)
    assert (refusal.value.field, sentence in refusal.value.message) == (field, True), refusal.value.message


def test_what_just_fits() -> None:
    assert checked(said("豆" * 682)).text == "豆" * 682
    assert checked(Words(WordsKind.ARTICLE, "正文", title="题" * 32, summary="摘" * 128)).title == "题" * 32


def test_only_what_a_kind_has_is_kept() -> None:
    everything = Words(WordsKind.TEXT, "你好", "题", "摘", 5)
    assert checked(everything) == said("你好")
    assert content.check(Words(WordsKind.PICTURE, "你好", "题", "摘", 5), shop=SHOP, public_url=URL) == Words(
        WordsKind.PICTURE, picture_id=5
    )


def test_a_mass_message_says_the_fallback_and_a_conversation_what_is_known() -> None:
    words = content.with_facts(said("{商户}想您了，{上次来|前些天}见过您"), SHOP)
    assert words.text == "茶馆想您了，{上次来|前些天}见过您"
    assert content.as_mass(words) == MassText("茶馆想您了，前些天见过您")
    assert content.as_reply(words, {"上次来": "昨天"}) == TextReply("茶馆想您了，昨天见过您")
    assert content.as_reply(words) == TextReply("茶馆想您了，前些天见过您")


def test_what_is_put_in_is_never_looked_at_again() -> None:
    assert content.fill("{上次来|x}", {"上次来": "{编号|y}"}) == "{编号|y}"


def test_the_linter_reads_fallbacks_too() -> None:
    hosts = link_hosts(URL)
    (found, *_) = content.findings(said("关注{上次来|送豆浆}"), hosts=hosts, listed=[])
    assert (found.rule, found.severity) == ("follow_for_benefit", Severity.REFUSED)
    card = Words(WordsKind.ARTICLE, "正文", title="满30减5")
    assert [one.rule for one in content.findings(card, hosts=hosts, listed=[])] == ["label"]
    assert content.findings(said(f"看 {URL}/q/abc"), hosts=hosts, listed=[]) == []
    assert content.findings(said("看 evil-shop.com"), hosts=hosts, listed=[])[0].rule == "link"


def test_nothing_typed_is_markup_but_links() -> None:
    body = (
        '<img src=x onerror=a()>\n\n看 https://mp.weixin.qq.com/s/a?b=1&c="d 吧\n<a href="https://q.example/x">这里</a>'
    )
    assert content.html_of(body) == (
        "<p>&lt;img src=x onerror=a()&gt;</p>"
        '<p>看 <a href="https://mp.weixin.qq.com/s/a?b=1&amp;c=">https://mp.weixin.qq.com/s/a?b=1&amp;c=</a>'
        "&quot;d 吧</p>"
        '<p><a href="https://q.example/x">这里</a></p>'
    )
    assert content.html_of('<a href="javascript:alert(1)">点</a> javascript:alert(1)') == (
        "<p>点 javascript:alert(1)</p>"
    )


def test_kinds_without_their_upload_say_so() -> None:
    with pytest.raises(NotUploaded):
        content.as_mass(Words(WordsKind.PICTURE, picture_id=1))
    with pytest.raises(NotUploaded):
        content.as_mass(Words(WordsKind.ARTICLE, "正文", "题", picture_id=1, picture="m"))
    assert content.as_mass(Words(WordsKind.PICTURE, picture="m")) == MassImage("m")
    assert content.as_reply(Words(WordsKind.PICTURE, picture="m")) == ImageReply("m")
    article = Words(WordsKind.ARTICLE, "正文", "题", "摘", 1, page="https://q/s/1", picurl="http://p", media_id="d")
    assert content.as_mass(article) == MassArticles("d")
    assert content.as_reply(article) == NewsReply("题", "摘", "http://p", "https://q/s/1")


def test_facts_of_fans(runtime: Runtime) -> None:
    desk = Desk(runtime, fans=1)
    follower_id = desk.follower(desk.openids[0])
    now = runtime.now()
    with runtime.transaction(Role.PLATFORM) as session:
        for days, words in ((0, "今天"), (1, "昨天"), (12, "12 天前"), (400, "年")):
            at = now - timedelta(days=days)
            session.execute(text("UPDATE fan SET last_touch_at = :at"), {"at": at})
            facts = content.facts_of_fans(session, merchant_id=desk.id, follower_ids=[follower_id], now=now)
            assert words in facts[follower_id]["上次来"]
            assert all(len(value) <= content.OF_FAN[name] for name, value in facts[follower_id].items())
    assert len(facts[follower_id]["编号"]) == 11


def test_what_was_agreed_to_is_said_whatever_happens_to_the_shop(runtime: Runtime) -> None:
    """BC-15."""
    desk = Desk(runtime)
    broadcast_id = desk.approved("{商户}有新茶 https://mp.weixin.qq.com/s/new")
    words = desk.words(broadcast_id)
    assert words["a"].text.startswith("茶馆有新茶 ")
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE merchant SET name = '酒馆'"))
        session.execute(update(ShortLink).values(code="CHANGED"))
    assert desk.words(broadcast_id) == words
    assert content.hash_of(words) == desk.get(broadcast_id).content_hash


def test_links_are_ours_from_the_approval_on_and_the_same_each_time(runtime: Runtime) -> None:
    desk = Desk(runtime)
    target = "https://mp.weixin.qq.com/s/new"
    written = f'先看 {target}，再看<a href="{target}">这里</a>和 mp.weixin.qq.com/s/b。'
    broadcast_id = desk.write(written)
    desk.submit(broadcast_id)
    assert desk.words(broadcast_id)["a"].text == written
    desk.approve(broadcast_id)
    with runtime.transaction(Role.PLATFORM) as session:
        codes = dict(session.execute(select(ShortLink.target, ShortLink.code)).all())
    first, second = (links.address(codes[one], desk.public_url) for one in (target, "http://mp.weixin.qq.com/s/b"))
    assert desk.words(broadcast_id)["a"].text == f'先看 {first}，再看<a href="{first}">这里</a>和 {second}。'
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(BroadcastWords.text)) == written


@pytest.fixture
def connected(runtime: Runtime, sandbox: Sandbox) -> Runtime:
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    return replace(runtime, settings=runtime.settings.model_copy(update=hosts))


@pytest.fixture
def article(connected: Runtime) -> tuple[Desk, int]:
    desk = Desk(connected)
    words = Words(WordsKind.ARTICLE, "第一段\n看 https://mp.weixin.qq.com/s/x", "题", "摘", desk.picture())
    return desk, desk.approved(Draft({"a": words}))


def test_upload_gives_the_platform_what_it_lacks_once(article: tuple[Desk, int]) -> None:
    desk, broadcast_id = article
    before = desk.words(broadcast_id)["a"]
    assert (before.picture, before.media_id) == (None, None)
    content.upload(desk.runtime, broadcast_id)
    after = desk.words(broadcast_id)["a"]
    assert after.picture
    assert after.media_id
    assert content.hash_of({"a": after}) == desk.get(broadcast_id).content_hash
    content.upload(desk.runtime, broadcast_id)
    assert desk.words(broadcast_id)["a"] == after
    with desk.runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(Picture.media_id)) == after.picture
    reply = content.as_reply(after)
    assert isinstance(reply, NewsReply)
    assert reply.url == after.page
    assert reply.picurl


def test_an_articles_card_leads_to_its_public_page(article: tuple[Desk, int]) -> None:
    desk, broadcast_id = article
    page = desk.words(broadcast_id)["a"].page
    with desk.runtime.transaction(Role.FAN) as session:
        found = links.target_of(session, page.rpartition("/")[2])
        assert found is not None
        shown = links.article(session, found[2].rpartition("/")[2])
    assert shown is not None
    assert (shown.title, shown.merchant_name) == ("题", "茶馆")
    assert f"{desk.public_url}/s/" in shown.text
