"""What a broadcast says: its words as they were written, as they were agreed to, and as each way of sending takes them.

Placeholders are filled in by plain substitution, once. What is known of the shop stands in the words from the approval
on; what is known of one fan only where a message goes to one fan: a mass message is the same for everybody, so there
its fallback is said, and one without a fallback is refused.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from html import escape
from typing import Any, Final, assert_never

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from campaigns.broadcasts.models import Broadcast, BroadcastState, BroadcastWords, WordsKind
from campaigns.coupons import cards
from campaigns.coupons.cards import Card
from core.clock import business_day
from core.database import Role
from core.errors import Invalid, NotFound, Phrase
from core.runtime import Runtime
from merchants.merchants import NAME_MAX
from merchants.models import Community, Merchant, Picture
from merchants.wording import (
    Finding,
    ListedWord,
    clean,
    links_in,
    lint,
    lint_beside_coupon,
    lint_card,
    replace_links,
)
from qrcodes import jobs
from wechat.client import client_of
from wechat.limits import (
    ARTICLE_AUTHOR_MAX,
    ARTICLE_CONTENT_MAX,
    ARTICLE_DIGEST_MAX,
    ARTICLE_TITLE_MAX,
    TEXT_MAX_BYTES,
)
from wechat.mass import DraftArticle, MassArticles, MassContent, MassImage, MassText
from wechat.replies import ImageReply, NewsReply, Reply, TextReply

OF_SHOP: Final = {"商户": NAME_MAX, "社区": NAME_MAX}
OF_FAN: Final = {"上次来": 8, "编号": 11}
"""What may stand in braces, and how many characters it can become: said of the shop, and of one fan."""
PLACEHOLDERS: Final = OF_SHOP | OF_FAN
BYTES_PER_CHARACTER: Final = 4
_PLACEHOLDER: Final = re.compile(r"\{([^{}|]*)(?:\|([^{}]*))?\}")

VARIANTS: Final = ("a", "b")
LINK_CODE: Final = 10
"""How long the code of a short link is."""
BODY_MAX: Final = 15_000
"""Of an article; its markup takes the rest of what the platform allows."""
_NEVER_FROZEN: Final = (BroadcastState.DRAFT, BroadcastState.SUBMITTED, BroadcastState.RETURNED)
_ANCHOR: Final = re.compile(r'<a\s+href="([^"<>]*)"\s*>([^<>]*)</a>')
_DAYS_IN_WORDS: Final = 30


class NotUploaded(Exception):
    """The platform does not have the picture or the draft yet: `upload` comes first."""


@dataclass(frozen=True)
class Words:
    """One of a broadcast's texts. `text` is a text's words or an article's body, `picture_id` a picture or a cover."""

    kind: WordsKind
    text: str = ""
    title: str = ""
    summary: str = ""
    picture_id: int | None = None
    template_id: int | None = None
    """The coupon whose card it ends with."""
    page: str = ""
    """Where an article's card in the chat leads; known once it is approved."""
    picture: str | None = None
    """The picture in the account's permanent material."""
    picurl: str | None = None
    media_id: str | None = None
    """An article's draft at the platform."""


_FROZEN: Final = ("kind", "text", "title", "summary", "picture_id", "page")
"""What the operator agrees to; the rest is how the platform calls it."""
_CARD: Final = "template_id"
"""Agreed to as well, where there is one."""


# ---- Writing ---------------------------------------------------------------------------------------------------------


def check(words: Words, *, shop: Mapping[str, str], public_url: str, card: Card | None = None) -> Words:
    """The words as they are stored; raises `Invalid` for what cannot even be a draft: too long, or badly filled in.

    `card` is the coupon's that they name.
    """
    is_text, is_article = words.kind is WordsKind.TEXT, words.kind is WordsKind.ARTICLE
    if words.template_id is not None and not (is_text or is_article):
        raise Invalid("图片不能带券，请用文字或图文。", field="template")
    checked = Words(
        words.kind,
        text=clean(words.text, name=Phrase("文字"), field="text", longest=BODY_MAX, lines=True)
        if is_text or is_article
        else "",
        title=clean(words.title, name=Phrase("标题"), field="title", longest=ARTICLE_TITLE_MAX) if is_article else "",
        summary=clean(words.summary, name=Phrase("摘要"), field="summary", longest=ARTICLE_DIGEST_MAX, lines=True)
        if is_article
        else "",
        picture_id=None if is_text else words.picture_id,
        template_id=words.template_id,
    )
    shown = with_card(checked, card, public_url)
    for field, said in (("text", checked.text), ("title", checked.title), ("summary", checked.summary)):
        _check_placeholders(said, field=field, is_text=is_text)
    if is_text and _longest_bytes(shown.text, public_url) > TEXT_MAX_BYTES:
        sentence = Phrase("文字太长：连同占位内容最多 %(bytes)s 字节，约 %(characters)s 个汉字。")
        raise Invalid(sentence, field="text", bytes=TEXT_MAX_BYTES, characters=TEXT_MAX_BYTES // 3)
    if is_article:
        _check_article(shown, shop, public_url)
    return checked


def _check_placeholders(said: str, *, field: str, is_text: bool) -> None:
    allowed = PLACEHOLDERS if is_text else OF_SHOP
    for name, fallback in _PLACEHOLDER.findall(said):
        if name not in allowed:
            known = "、".join(f"{{{one}}}" for one in allowed)
            raise Invalid("没有“{%(name)s}”这个占位，可以用的有：%(known)s。", field=field, name=name, known=known)
        if name in OF_FAN and not fallback.strip():
            sentence = Phrase("“{%(name)s}”要写上备用的话，像 {%(name)s|前些天}：群发给大家的是同一句话。")
            raise Invalid(sentence, field=field, name=name)


def _check_article(words: Words, shop: Mapping[str, str], public_url: str) -> None:
    filled = with_facts(words, shop)
    for field, said, longest in (
        ("title", filled.title, ARTICLE_TITLE_MAX),
        ("summary", filled.summary, ARTICLE_DIGEST_MAX),
    ):
        if len(said) > longest:
            raise Invalid("填上店名以后超过 %(longest)s 个字了。", field=field, longest=longest)
    shortened = replace_links(filled.text, lambda link: link.ljust(_link_length(public_url), "x"))
    if len(html_of(shortened)) > ARTICLE_CONTENT_MAX:
        raise Invalid("正文太长了，请缩短。", field="text")


def _link_length(public_url: str) -> int:
    return len(f"{public_url}/s/") + LINK_CODE


def _longest_bytes(said: str, public_url: str) -> int:
    """How long a text can become once it is filled in and its links are ours."""
    longest = replace_links(said, lambda link: link.ljust(_link_length(public_url), "x"))
    length = len(_PLACEHOLDER.sub("", longest).encode())
    for name, fallback in _PLACEHOLDER.findall(longest):
        length += max(len(fallback.encode()), PLACEHOLDERS[name] * BYTES_PER_CHARACTER)
    return length


def missing(words: Words) -> Invalid | None:
    """What still has to be filled in before anybody can be sent this."""
    match words.kind:
        case WordsKind.TEXT if not words.text:
            return Invalid("请填写文字。", field="text")
        case WordsKind.PICTURE | WordsKind.ARTICLE if words.picture_id is None:
            is_cover = words.kind is WordsKind.ARTICLE
            return Invalid("图文要有一张封面图。" if is_cover else "请选择图片。", field="picture")
        case WordsKind.ARTICLE if not words.title:
            return Invalid("请填写标题。", field="title")
        case WordsKind.ARTICLE if not words.text:
            return Invalid("请填写正文。", field="text")
        case _:
            return None


def findings(words: Words, *, hosts: frozenset[str], listed: Sequence[ListedWord]) -> list[Finding]:
    """What the linter says, the refused first; fallbacks could put together what the text itself hides."""
    found: list[Finding] = []
    for said in (words.title, words.summary, words.text):
        for one in (*lint(said, hosts=hosts, listed=listed), *lint(fill(said, {}), hosts=hosts, listed=listed)):
            if one not in found:
                found.append(one)
        if words.template_id is not None:
            found += [one for one in lint_beside_coupon(said) if one not in found]
    if words.kind is WordsKind.ARTICLE:
        found += lint_card(words.title, words.summary)
    return sorted(found, key=lambda one: one.severity != "refused")


# ---- Filling in ------------------------------------------------------------------------------------------------------


def fill(said: str, values: Mapping[str, str]) -> str:
    """Put values into their placeholders; an empty one gives way to its fallback."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1]) or match[2] or "", said)


def with_facts(words: Words, shop: Mapping[str, str]) -> Words:
    """The words with what is known of the shop in them; placeholders of a fan stay."""

    def put(said: str) -> str:
        return _PLACEHOLDER.sub(
            lambda match: (shop.get(match[1]) or match[2] or "") if match[1] in OF_SHOP else match[0], said
        )

    return replace(words, text=put(words.text), title=put(words.title), summary=put(words.summary))


def with_card(words: Words, card: Card | None, public_url: str, broadcast_id: int = 0) -> Words:
    """The words with their coupon's card at the end."""
    if card is None:
        return words
    line = card.line(card.address(public_url, broadcast_id=broadcast_id))
    return replace(words, text=f"{words.text}\n{line}" if words.text else line)


def speaks_of_fan(words: Words) -> bool:
    """Whether what one fan is told differs from what another is told."""
    return any(name in OF_FAN for name, _ in _PLACEHOLDER.findall(words.text))


def facts_of_shop(session: Session, merchant_id: int) -> dict[str, str]:
    """What the placeholders of a shop become; nothing in them is a placeholder again."""
    name, community = session.execute(
        select(Merchant.name, Community.name)
        .join(Community, Community.id == Merchant.community_id)
        .where(Merchant.id == merchant_id)
    ).one()
    plain = str.maketrans("{}|", "（）／")
    return {"商户": name.translate(plain), "社区": community.translate(plain)}


def facts_of_fans(
    session: Session, *, merchant_id: int, follower_ids: Sequence[int], now: datetime
) -> dict[int, dict[str, str]]:
    """What the placeholders of some fans become, for `as_reply`."""
    rows = session.execute(
        text("""
            SELECT follower_id, number, last_touch_at FROM fan
            WHERE merchant_id = :merchant_id AND follower_id = ANY(:those)"""),
        {"merchant_id": merchant_id, "those": list(follower_ids)},
    )
    return {row[0]: {"编号": f"{row[1][:5]}-{row[1][5:]}", "上次来": _how_long_ago(row[2], now)} for row in rows}


def _how_long_ago(moment: datetime, now: datetime) -> str:
    then, today = business_day(moment), business_day(now)
    match (today - then).days:
        case days if days <= 0:
            return "今天"
        case 1:
            return "昨天"
        case days if days <= _DAYS_IN_WORDS:
            return f"{days} 天前"
        case _:
            return f"{then.month}月{then.day}日" if then.year == today.year else f"{then.year}年{then.month}月"


# ---- Reading ---------------------------------------------------------------------------------------------------------


def written(session: Session, broadcast_id: int) -> dict[str, Words]:
    """The words as their author typed them, by variant."""
    rows = session.execute(
        select(BroadcastWords, Picture.media_id, Picture.wechat_url)
        .outerjoin(Picture, Picture.id == BroadcastWords.picture_id)
        .where(BroadcastWords.broadcast_id == broadcast_id)
        .order_by(BroadcastWords.variant)
    )
    return {
        row.variant: Words(
            WordsKind(row.kind), row.text, row.title, row.summary, row.picture_id, row.template_id,
            picture=picture, picurl=picurl, media_id=row.media_id,
        )
        for row, picture, picurl in rows
    }  # fmt: skip


def card_of(session: Session, words: Words, merchant_id: int) -> Card | None:
    """The card of the coupon that some words name."""
    if words.template_id is None:
        return None
    return cards.own(session, merchant_id=merchant_id, template_id=words.template_id)


def load(session: Session, broadcast_id: int, *, public_url: str = "") -> dict[str, Words]:
    """The words as they are said, by variant: once approved, exactly those that were agreed to (BC-15).

    `public_url` is ours, where the coupon's card of a draft leads: without it there is none. Agreed words have it in
    them.
    """
    broadcast = session.get(Broadcast, broadcast_id)
    if broadcast is None:
        raise NotFound("没有这条群发。")
    words = written(session, broadcast_id)
    if broadcast.state in _NEVER_FROZEN or broadcast.evidence is None or broadcast.merchant_id is None:
        shop = facts_of_shop(session, broadcast.merchant_id) if broadcast.merchant_id is not None else {}
        return {
            variant: with_card(
                with_facts(one, shop),
                card_of(session, one, broadcast.merchant_id or 0) if public_url else None,
                public_url,
                broadcast_id,
            )
            for variant, one in words.items()
        }
    agreed = agreed_to(broadcast.evidence)
    return {
        variant: replace(one, picture=row.picture, picurl=row.picurl, media_id=row.media_id)
        for variant, one in agreed.items()
        if (row := words.get(variant)) is not None
    }


def agreed_to(evidence: Mapping[str, Any]) -> dict[str, Words]:
    """The words in an approval's evidence."""
    return {
        variant: Words(**{**kept, "kind": WordsKind(kept["kind"])})
        for variant, kept in sorted(evidence.get("words", {}).items())
    }


def frozen(words: Mapping[str, Words]) -> dict[str, dict[str, Any]]:
    """The words as an approval keeps them."""
    return {
        variant: {name: value for name, value in asdict(one).items() if name in _FROZEN or (name == _CARD and value)}
        for variant, one in words.items()
    }


def hash_of(words: Mapping[str, Words]) -> bytes:
    """Of everything a broadcast says, in one spelling."""
    spelt = json.dumps(frozen(words), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(spelt.encode()).digest()


# ---- Showing ---------------------------------------------------------------------------------------------------------


def pieces(said: str) -> list[tuple[str, str | None]]:
    """A text as a phone shows it: what stands there, and where it leads if it is a link."""
    found: list[tuple[str, str | None]] = []
    end = 0
    for match in _ANCHOR.finditer(said):
        found += _plain_pieces(said[end : match.start()])
        found.append((match[2], _web_address(match[1])))
        end = match.end()
    return found + _plain_pieces(said[end:])


def in_plain(said: str) -> str:
    """A text without its markup, for lists."""
    return "".join(shown for shown, _ in pieces(said))


def _plain_pieces(said: str) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    end = 0
    for link in links_in(said):
        start = said.index(link, end)
        if said[end:start]:
            found.append((said[end:start], None))
        found.append((link, _web_address(link if ":" in link else f"http://{link}")))
        end = start + len(link)
    return [*found, (said[end:], None)] if said[end:] else found


def _web_address(link: str) -> str | None:
    return link if link.lower().startswith(("http://", "https://")) else None


def paragraphs(body: str) -> list[list[tuple[str, str | None]]]:
    """An article's body as it is shown, without empty lines."""
    return [pieces(line.strip()) for line in body.split("\n") if line.strip()]


def html_of(body: str) -> str:
    """An article's body for the platform: paragraphs and links, and nothing else of what was typed is markup."""
    shown = []
    for paragraph in paragraphs(body):
        parts = (
            escape(said) if target is None else f'<a href="{escape(target)}">{escape(said)}</a>'
            for said, target in paragraph
        )
        shown.append(f"<p>{''.join(parts)}</p>")
    return "".join(shown)


def targets(said: str) -> list[str]:
    """Where the links of a text lead, in order."""
    return [target for _, target in pieces(said) if target]


def first_link(body: str) -> str:
    """Where an article leads on, as the platform may drop links inside it."""
    return next(iter(targets(body)), "")


# ---- Sending ---------------------------------------------------------------------------------------------------------


def as_mass(words: Words) -> MassContent:
    """What a mass send says to everybody; raises `NotUploaded`."""
    match words.kind:
        case WordsKind.TEXT:
            return MassText(fill(words.text, {}))
        case WordsKind.PICTURE:
            return MassImage(_uploaded(words.picture))
        case WordsKind.ARTICLE:
            return MassArticles(_uploaded(words.media_id))
        case _:
            assert_never(words.kind)


def as_reply(words: Words, facts: Mapping[str, str] | None = None) -> Reply:
    """What one fan is told in a conversation; raises `NotUploaded`."""
    match words.kind:
        case WordsKind.TEXT:
            return TextReply(fill(words.text, facts or {}))
        case WordsKind.PICTURE:
            return ImageReply(_uploaded(words.picture))
        case WordsKind.ARTICLE:
            return NewsReply(words.title, words.summary, words.picurl or "", words.page)
        case _:
            assert_never(words.kind)


def _uploaded(media_id: str | None) -> str:
    if media_id is None:
        raise NotUploaded
    return media_id


def draft_of(words: Words, *, author: str) -> DraftArticle:
    """An article as the platform takes it; raises `NotUploaded` while its cover is not there."""
    return DraftArticle(
        title=words.title,
        content=html_of(words.text),
        thumb_media_id=_uploaded(words.picture),
        author=author[:ARTICLE_AUTHOR_MAX],
        digest=words.summary,
        source_url=first_link(words.text),
    )


def upload(runtime: Runtime, broadcast_id: int) -> None:
    """Give the platform what the words need and it does not have: pictures, and the drafts of articles.

    Raises `WeChatError`; begun again, it goes on with what is missing. No transaction is open during a call.
    """
    for words in _loaded(runtime, broadcast_id).values():
        if words.picture_id is not None and words.picture is None:
            jobs.copy_picture(runtime, words.picture_id)
    with runtime.transaction(Role.PLATFORM) as session:
        ready = load(session, broadcast_id)
        merchant_id = session.get_one(Broadcast, broadcast_id).merchant_id
        author = facts_of_shop(session, merchant_id)["商户"] if merchant_id is not None else ""
    for variant, words in ready.items():
        if words.kind is WordsKind.ARTICLE and words.media_id is None:
            media_id = client_of(runtime).add_draft([draft_of(words, author=author)])
            with runtime.transaction(Role.PLATFORM) as session:
                mine = update(BroadcastWords).where(
                    BroadcastWords.broadcast_id == broadcast_id,
                    BroadcastWords.variant == variant,
                    BroadcastWords.media_id.is_(None),
                )
                session.execute(mine.values(media_id=media_id))


def _loaded(runtime: Runtime, broadcast_id: int) -> dict[str, Words]:
    with runtime.transaction(Role.PLATFORM) as session:
        return load(session, broadcast_id)
