"""What a scan is answered with: written by a merchant, approved by the operator, filled in for each scan.

Placeholders such as {商户} or {位置|本店} are replaced by plain substitution, once: what is put in is never looked at
again, and nothing in a text is ever run.
"""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import ARRAY, BigInteger, ColumnElement, any_, bindparam, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from core.database import rows_changed
from core.errors import Invalid, NotFound, Phrase
from merchants import sensitive_words
from merchants.merchants import NAME_MAX
from merchants.models import Picture
from merchants.reviews import ReviewState, decide
from merchants.wording import (
    Finding,
    ListedWord,
    clean,
    is_allowed_link,
    lint,
    lint_beside_coupon,
    lint_card,
    refuse_bad_wording,
)
from qrcodes.codes import LABEL_MAX, PLACE_MAX
from qrcodes.models import SubQrCode, Welcome, WelcomeVariant
from wechat.limits import TEXT_MAX_BYTES
from wechat.replies import ImageReply, NewsReply, Reply, TextReply

TITLE_MAX: Final = 32
DESCRIPTION_MAX: Final = 128
URL_MAX: Final = 1_000
POSITIONS: Final = (0, 1, 2)
CARD_BYTES: Final = 400
"""Room for the line of a coupon's card."""

PLACEHOLDERS: Final = {"商户": NAME_MAX, "社区": NAME_MAX, "码": LABEL_MAX, "位置": PLACE_MAX}
"""What may stand in braces, and how many characters it can become."""
BYTES_PER_CHARACTER: Final = 4
_PLACEHOLDER = re.compile(r"\{([^{}|]*)(?:\|([^{}]*))?\}")

_HELLO: Final = "{商户|您好}，欢迎光临！"
_HEARD: Final = (ReviewState.PENDING, ReviewState.APPROVED)

Owner = tuple[int | None, int | None]
"""The merchant and the code that were scanned; None where the scan was nobody's."""


@dataclass(frozen=True)
class Draft:
    """What somebody wrote. A news card without a `url` leads to the code's own page."""

    kind: str = "text"
    text: str = ""
    title: str = ""
    description: str = ""
    url: str = ""
    picture_id: int | None = None
    template_id: int | None = None
    """The coupon whose card the first message ends with."""


@dataclass(frozen=True)
class Card:
    """A coupon that can be taken now: what its link says, and where it leads."""

    words: str
    url: str

    @property
    def line(self) -> str:
        return f'<a href="{self.url}">{self.words}</a>'


@dataclass(frozen=True)
class Message:
    """One approved message as it is spoken; `id` is None for the words we bring along."""

    id: int | None
    position: int
    kind: str
    text: str
    title: str = ""
    description: str = ""
    url: str = ""
    has_picture: bool = False
    media_id: str | None = None
    picurl: str | None = None
    template_id: int | None = None
    """The coupon that whoever scans this code is offered, in each of the three situations alike."""


def _built_in(words: str) -> tuple[Message, ...]:
    return (Message(id=None, position=0, kind="text", text=words),)


MERCHANT_WORDS: Final = {
    WelcomeVariant.FIRST: _built_in("您好，欢迎光临{商户}！\n以后店里有新消息，会在这里告诉您。"),
    WelcomeVariant.BACK: _built_in("欢迎回来！这里是{商户}。\n以后店里有新消息，会在这里告诉您。"),
    WelcomeVariant.ALREADY: _built_in("您好，欢迎光临{商户}！"),
}
PLATFORM_WORDS: Final = {
    WelcomeVariant.FIRST: _built_in(
        "您好，欢迎来到{社区|社区生活圈}！\n看到身边商户的二维码，用微信扫一扫，就能认识这家店。"
    ),
    WelcomeVariant.BACK: _built_in("欢迎回到{社区|社区生活圈}！\n看到身边商户的二维码，用微信扫一扫，就能认识这家店。"),
    WelcomeVariant.ALREADY: _built_in("您好！这个二维码目前没有商户在用，请向店家问一下新的二维码。"),
}


def save(
    session: Session,
    *,
    merchant_id: int | None,
    code_id: int | None,
    variant: WelcomeVariant,
    position: int,
    draft: Draft,
    hosts: frozenset[str],
    now: datetime,
    operator_id: int | None = None,
) -> int:
    """Keep a new version; it speaks at once when the operator wrote it, else it waits for approval. Returns its id.

    Only one version of a place ever waits, and only one speaks: the new one withdraws what it replaces.
    """
    if position not in POSITIONS:
        raise Invalid("最多三条消息。", field="position")
    if merchant_id is None and operator_id is None:
        raise NotFound
    checked = check(draft, hosts=hosts, listed=sensitive_words.listed(session))
    _refuse_foreign(session, merchant_id=merchant_id, code_id=code_id, picture_id=checked.picture_id)
    if checked.template_id is not None:
        _must(position == 0, Phrase("券只能放在第一条里。"), "template")
        _refuse_coupon(session, merchant_id=merchant_id, template_id=checked.template_id)
    place = _place(merchant_id, code_id, variant, position)
    _withdraw(session, *place, states=[ReviewState.PENDING] if operator_id is None else _HEARD)
    values: dict[str, object] = {
        "merchant_id": merchant_id,
        "code_id": code_id,
        "variant": variant,
        "position": position,
        "kind": checked.kind,
        "text": checked.text,
        "title": checked.title,
        "description": checked.description,
        "url": checked.url,
        "picture_id": checked.picture_id,
        "template_id": checked.template_id,
    }
    # A merchant's own connection may not even name the columns of the review.
    if operator_id is not None:
        values |= {"review": ReviewState.APPROVED, "reviewed_by": operator_id, "reviewed_at": now}
    return session.execute(insert(Welcome).values(values).returning(Welcome.id)).scalar_one()


def check(draft: Draft, *, hosts: frozenset[str], listed: Sequence[ListedWord] = ()) -> Draft:
    """The draft as it is stored; raises `Invalid` with the one sentence that says what to change."""
    said = clean(draft.text, name=Phrase("文字"), field="text", longest=TEXT_MAX_BYTES, lines=True)
    title = clean(draft.title, name=Phrase("标题"), field="title", longest=TITLE_MAX)
    description = clean(
        draft.description, name=Phrase("摘要"), field="description", longest=DESCRIPTION_MAX, lines=True
    )
    url = draft.url.strip()
    match draft.kind:
        case "text":
            _must(bool(said), Phrase("请填写文字。"), "text")
            checked = Draft("text", text=said)
        case "image":
            _must(draft.picture_id is not None, Phrase("请选择图片。"), "picture")
            checked = Draft("image", text=said, picture_id=draft.picture_id)
        case "news":
            _must(bool(title), Phrase("请填写标题。"), "title")
            _must(len(url) <= URL_MAX, Phrase("链接太长了。"), "url")
            _must(not url or is_allowed_link(url, hosts), Phrase("链接只能指向本系统或公众号文章。"), "url")
            checked = Draft("news", title=title, description=description, url=url, picture_id=draft.picture_id)
        case _:
            raise Invalid("只能是文字、图片或图文卡片。", field="kind")
    if draft.template_id is not None:
        _must(checked.kind != "image", Phrase("图片不能带券，请用文字或图文。"), "template")
        checked = replace(checked, template_id=draft.template_id)
    for field, words in (("text", checked.text), ("title", checked.title), ("description", checked.description)):
        unknown = [name for name, _ in _PLACEHOLDER.findall(words) if name not in PLACEHOLDERS]
        if unknown:
            known = "、".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise Invalid(
                "没有“{%(name)s}”这个占位，可以用的有：%(known)s。", field=field, name=unknown[0], known=known
            )
        refuse_bad_wording(words, field=field, hosts=hosts, listed=listed)
        # Fallbacks could put together what the text itself hides.
        refuse_bad_wording(fill(words, {}), field=field, hosts=hosts, listed=listed)
        if checked.template_id is not None and (found := lint_beside_coupon(words)):
            sentence = Phrase("带券的话里不能提“%(words)s”：%(advice)s")
            raise Invalid(sentence, field=field, words=found[0].text, advice=found[0].advice)
    room = TEXT_MAX_BYTES - (CARD_BYTES if checked.template_id is not None else 0)
    if _longest_bytes(checked.text) > room:
        sentence = Phrase("文字太长：连同占位内容最多 %(bytes)s 字节，约 %(characters)s 个汉字。")
        raise Invalid(sentence, field="text", bytes=room, characters=room // 3)
    return checked


def doubts(welcome: Welcome | Draft, *, hosts: frozenset[str], listed: Sequence[ListedWord]) -> list[Finding]:
    """What the linter would have reworded in words that are stored; also what a rule added since would refuse."""
    found = [one for words in (welcome.text, welcome.title, welcome.description)
             for one in lint(fill(words, {}), hosts=hosts, listed=listed)]  # fmt: skip
    if welcome.template_id is not None:
        found += [
            one for words in (welcome.text, welcome.title, welcome.description) for one in lint_beside_coupon(words)
        ]
    return found + (lint_card(welcome.title, welcome.description) if welcome.kind == "news" else [])


def _must(condition: bool, sentence: Phrase, field: str) -> None:
    if not condition:
        raise Invalid(sentence, field=field)


def _longest_bytes(text: str) -> int:
    """How long a text can become once its placeholders are filled in."""
    length = len(_PLACEHOLDER.sub("", text).encode())
    for name, fallback in _PLACEHOLDER.findall(text):
        length += max(len(fallback.encode()), PLACEHOLDERS[name] * BYTES_PER_CHARACTER)
    return length


def _refuse_foreign(session: Session, *, merchant_id: int | None, code_id: int | None, picture_id: int | None) -> None:
    """Nobody speaks through somebody else's code or picture; the two look like missing ones (TN-3)."""
    if code_id is not None:
        own = select(SubQrCode.id).where(SubQrCode.id == code_id, SubQrCode.merchant_id == merchant_id)
        if session.scalar(own) is None:
            raise NotFound("没有这个二维码。")
    if picture_id is not None:
        mine = select(Picture.id).where(Picture.id == picture_id, Picture.merchant_id == merchant_id)
        if session.scalar(mine) is None:
            raise NotFound("没有这张图片。")


def _refuse_coupon(session: Session, *, merchant_id: int | None, template_id: int) -> None:
    """Only a coupon of one's own that is given now; another merchant's is missing (TN-3)."""
    state = session.scalar(
        text("SELECT state FROM coupon_template WHERE id = :id AND merchant_id = :merchant_id"),
        {"id": template_id, "merchant_id": merchant_id},
    )
    if state is None:
        raise NotFound("没有这张优惠券。")
    _must(state == "live", Phrase("这张优惠券现在不能领，请换一张，或者不带券。"), "template")


def _place(
    merchant_id: int | None, code_id: int | None, variant: WelcomeVariant, position: int
) -> tuple[ColumnElement[bool], ...]:
    return (
        Welcome.merchant_id.is_not_distinct_from(merchant_id),
        Welcome.code_id.is_not_distinct_from(code_id),
        Welcome.variant == variant,
        Welcome.position == position,
    )


def approve(
    session: Session, *, welcome_id: int, operator_id: int, now: datetime, was: ReviewState = ReviewState.PENDING
) -> None:
    """Let a version speak instead of any other. `was` is what the operator saw: waiting, or refused before."""
    version = decide(
        session, Welcome, welcome_id, was=was, now_is=ReviewState.APPROVED, operator_id=operator_id, now=now
    )
    place = _place(version.merchant_id, version.code_id, WelcomeVariant(version.variant), version.position)
    _withdraw(session, *place, Welcome.id != welcome_id, states=[ReviewState.APPROVED])


def reject(
    session: Session,
    *,
    welcome_id: int,
    operator_id: int,
    reason: str,
    now: datetime,
    was: ReviewState = ReviewState.PENDING,
) -> None:
    """Refuse a version, waiting or speaking by an earlier decision, and tell its author why."""
    decide(
        session,
        Welcome,
        welcome_id,
        was=was,
        now_is=ReviewState.REJECTED,
        operator_id=operator_id,
        now=now,
        reason=reason,
    )


def withdraw(
    session: Session, *, merchant_id: int | None, code_id: int | None, variant: WelcomeVariant, position: int
) -> int:
    """Take back everything said at one place, so that what it falls back to speaks. Returns how many versions."""
    return _withdraw(session, *_place(merchant_id, code_id, variant, position), states=_HEARD)


def _withdraw(session: Session, *which: ColumnElement[bool], states: Sequence[ReviewState]) -> int:
    those = update(Welcome).where(*which, Welcome.review.in_(states))
    return rows_changed(session.execute(those.values(review=ReviewState.WITHDRAWN)))


@dataclass(frozen=True)
class Place:
    """One message of a welcome as its author's page shows it."""

    variant: WelcomeVariant
    position: int
    speaking: Welcome | None
    """What visitors read now; None: what this place falls back to."""
    waiting: Welcome | None
    rejected: Welcome | None
    """The newest version, if the operator refused it."""


def current(session: Session, *, merchant_id: int | None, code_id: int | None) -> list[Place]:
    """All nine places of one owner, with what speaks, waits and was refused."""
    rows = session.scalars(
        select(Welcome)
        .where(
            Welcome.merchant_id.is_not_distinct_from(merchant_id),
            Welcome.code_id.is_not_distinct_from(code_id),
            Welcome.review != ReviewState.WITHDRAWN,
        )
        .ext(distinct_on(Welcome.variant, Welcome.position, Welcome.review))
        .order_by(Welcome.variant, Welcome.position, Welcome.review, Welcome.id.desc())
    )
    newest = {(row.variant, row.position, row.review): row for row in rows}
    places = []
    for variant in WelcomeVariant:
        for position in POSITIONS:
            speaking, waiting, rejected = (
                newest.get((variant, position, review))
                for review in (ReviewState.APPROVED, ReviewState.PENDING, ReviewState.REJECTED)
            )
            others = [row.id for row in (speaking, waiting) if row is not None]
            if rejected is not None and rejected.id < max(others, default=0):
                rejected = None
            places.append(Place(variant, position, speaking, waiting, rejected))
    return places


def waiting_for_review(session: Session, *, after: int = 0, limit: int = 50) -> list[Welcome]:
    """What the operator has to look at, oldest first."""
    statement = select(Welcome).where(Welcome.review == ReviewState.PENDING, Welcome.id > after)
    return list(session.scalars(statement.order_by(Welcome.id).limit(limit)))


def decided(session: Session, *, limit: int = 20) -> list[Welcome]:
    """What was decided about merchants' words lately, the newest decision first."""
    statement = select(Welcome).where(
        Welcome.merchant_id.is_not(None), Welcome.review.in_((ReviewState.APPROVED, ReviewState.REJECTED))
    )
    return list(session.scalars(statement.order_by(Welcome.reviewed_at.desc(), Welcome.id.desc()).limit(limit)))


def count_waiting(session: Session) -> int:
    statement = select(func.count()).select_from(Welcome).where(Welcome.review == ReviewState.PENDING)
    return session.execute(statement).scalar_one()


# A callback's batch runs this inside its transaction: one statement, the same text every time.
_SPOKEN = (
    select(
        Welcome.merchant_id,
        Welcome.code_id,
        Welcome.variant,
        Welcome.position,
        Welcome.id,
        Welcome.kind,
        Welcome.text,
        Welcome.title,
        Welcome.description,
        Welcome.url,
        Welcome.picture_id,
        Picture.media_id,
        Picture.wechat_url,
        Welcome.template_id,
    )
    .outerjoin(Picture, Picture.id == Welcome.picture_id)
    .where(
        Welcome.review == ReviewState.APPROVED.value,
        or_(
            Welcome.merchant_id.is_(None),
            Welcome.merchant_id == any_(bindparam("merchant_ids", type_=ARRAY(BigInteger))),
        ),
        or_(Welcome.code_id.is_(None), Welcome.code_id == any_(bindparam("code_ids", type_=ARRAY(BigInteger)))),
    )
    .ext(distinct_on(Welcome.merchant_id, Welcome.code_id, Welcome.variant, Welcome.position))
    .order_by(Welcome.merchant_id, Welcome.code_id, Welcome.variant, Welcome.position, Welcome.id.desc())
)


def resolve_many(
    session: Session, wanted: AbstractSet[Owner]
) -> dict[tuple[int | None, int | None, WelcomeVariant], Sequence[Message]]:
    """What speaks for each scanned code in each variant, in the order of positions; one query for all.

    The code's own welcome, else its merchant's, else the platform's, else the words we bring along. A level speaks
    once it has a passive reply: what follows it is never said without it. A coupon that one of a code's three
    situations offers is offered in all of them: to who is new the same as to who was here before.
    """
    rows = session.execute(
        _SPOKEN,
        {
            "merchant_ids": sorted({merchant_id for merchant_id, _ in wanted if merchant_id is not None}),
            "code_ids": sorted({code_id for _, code_id in wanted if code_id is not None}),
        },
    )
    said: dict[tuple[int | None, int | None, str], list[Message]] = {}
    for merchant_id, code_id, variant, position, id_, kind, words, title, description, url, *more in rows:
        picture, media, link, template_id = more
        message = Message(
            id_, position, kind, words, title, description, url, picture is not None, media, link, template_id
        )
        said.setdefault((merchant_id, code_id, variant), []).append(message)
    resolved: dict[tuple[int | None, int | None, WelcomeVariant], Sequence[Message]] = {}
    for merchant_id, code_id in wanted:
        levels: list[Owner] = [(merchant_id, code_id), (merchant_id, None), (None, None)]
        spoken: dict[WelcomeVariant, Sequence[Message]] = {}
        for variant in WelcomeVariant:
            own_words = (MERCHANT_WORDS if merchant_id is not None else PLATFORM_WORDS)[variant]
            for level in levels:
                messages = said.get((*level, variant), [])
                if messages and messages[0].position == 0:
                    own_words = tuple(messages)
                    break
            spoken[variant] = own_words
        for variant, chosen in _with_coupon(spoken).items():
            resolved[merchant_id, code_id, variant] = chosen
    return resolved


def _with_coupon(spoken: dict[WelcomeVariant, Sequence[Message]]) -> dict[WelcomeVariant, Sequence[Message]]:
    """The three situations with the same coupon, the one that was written last; with none where any of them speaks of
    following or sharing beside it."""
    carriers = [one[0] for one in spoken.values() if one[0].template_id is not None]
    if not carriers:
        return spoken
    newest = max(carriers, key=lambda message: message.id or 0).template_id
    first = [one[0] for one in spoken.values()]
    is_clean = not any(lint_beside_coupon("\n".join((one.text, one.title, one.description))) for one in first)
    return {
        variant: (replace(messages[0], template_id=newest if is_clean else None), *messages[1:])
        for variant, messages in spoken.items()
    }


def fill(words: str, values: Mapping[str, str]) -> str:
    """Put the values into their placeholders; an empty one gives way to its fallback."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1]) or match[2] or "", words)


def render(
    message: Message,
    *,
    merchant_name: str = "",
    code_label: str = "",
    place: str = "",
    community: str = "",
    page_url: str = "",
    coupon: Card | None = None,
) -> Reply:
    """The message in the words of one scan. `page_url` is the code's page, where a card without a link leads.

    Whatever is not ready yet, such as a picture still on its way to the platform, is said as text; so is what stands
    in the place of a picture where a coupon goes with it. A card of news with a coupon leads to the coupon.
    """
    values = {"商户": merchant_name, "社区": community, "码": code_label, "位置": place}
    words = fill(message.text, values)
    if message.kind == "image" and message.media_id and coupon is None:
        return ImageReply(message.media_id)
    if message.kind == "news":
        title = fill(message.title, values)[:TITLE_MAX]
        description = fill(message.description, values)[:DESCRIPTION_MAX]
        url = message.url or page_url
        if coupon is not None:
            room = DESCRIPTION_MAX - len(coupon.words) - 1
            description, url = "\n".join(one for one in (description[:room], coupon.words) if one), coupon.url
        if url and (message.picurl or not message.has_picture):
            return NewsReply(title, description, message.picurl or "", url)
        words = "\n".join(part for part in (title, description, url) if part)
    elif coupon is not None:
        words = f"{words or fill(_HELLO, values)}\n{coupon.line}"
    return TextReply(words or fill(_HELLO, values))
