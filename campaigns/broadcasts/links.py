"""Links of broadcasts: replaced by our own short ones when they are agreed to, and counted when they are opened."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from campaigns.broadcasts.content import LINK_CODE, Words
from campaigns.broadcasts.models import ArticlePage, ShortLink, WordsKind
from merchants.models import Merchant, Picture
from merchants.wording import is_allowed_link, link_hosts, replace_links

NewCode = Callable[[int], str]


def shorten(
    session: Session,
    words: Words,
    *,
    merchant_id: int,
    broadcast_id: int,
    variant: str,
    public_url: str,
    new_code: NewCode,
) -> Words:
    """The words with short links in the places of links that may be followed; an article gets its public page.

    The same link of the same text is the same short link each time, so that a second approval changes nothing.
    """
    hosts = link_hosts(public_url)

    def short(link: str) -> str:
        target = link if "://" in link else f"http://{link}"
        if not is_allowed_link(target, hosts):
            return link
        return address(_code_of(session, merchant_id, broadcast_id, variant, target, new_code), public_url)

    shortened = replace(words, text=replace_links(words.text, short))
    if words.kind is not WordsKind.ARTICLE:
        return shortened
    code = session.scalar(
        select(ArticlePage.code).where(ArticlePage.broadcast_id == broadcast_id, ArticlePage.variant == variant)
    ) or new_code(LINK_CODE)
    page = insert(ArticlePage).values(
        code=code, merchant_id=merchant_id, broadcast_id=broadcast_id, variant=variant, title=shortened.title,
        text=shortened.text, picture_id=shortened.picture_id,
    )  # fmt: skip
    changed = {name: page.excluded[name] for name in ("title", "text", "picture_id")}
    session.execute(page.on_conflict_do_update(index_elements=["broadcast_id", "variant"], set_=changed))
    return replace(shortened, page=short(f"{public_url}/read/{code}"))


def address(code: str, public_url: str) -> str:
    """Where a short link is opened."""
    return f"{public_url}/s/{code}"


def _code_of(
    session: Session, merchant_id: int, broadcast_id: int, variant: str, target: str, new_code: NewCode
) -> str:
    known = select(ShortLink.code).where(
        ShortLink.broadcast_id == broadcast_id, ShortLink.variant == variant, ShortLink.target == target
    )
    new = insert(ShortLink).values(
        code=new_code(LINK_CODE), merchant_id=merchant_id, broadcast_id=broadcast_id, variant=variant, target=target
    )
    session.execute(new.on_conflict_do_nothing(index_elements=["broadcast_id", "variant", "target"]))
    return session.execute(known).scalar_one()


def target_of(session: Session, code: str) -> tuple[int, int, str] | None:
    """The link's id, whose it is and where it leads; under the fan role, too."""
    row = session.execute(
        select(ShortLink.id, ShortLink.merchant_id, ShortLink.target).where(ShortLink.code == code)
    ).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


def note_tap(session: Session, *, link_id: int, merchant_id: int, visitor: bytes) -> None:
    """Somebody opened it; `visitor` tells people of one day apart and nobody by name."""
    session.execute(
        text("INSERT INTO link_tap (link_id, merchant_id, visitor) VALUES (:link_id, :merchant_id, :visitor)"),
        {"link_id": link_id, "merchant_id": merchant_id, "visitor": visitor},
    )


@dataclass(frozen=True)
class Article:
    """An article as anybody reads it; `picture` is the public id of its cover."""

    title: str
    text: str
    merchant_name: str
    picture: str | None


def article(session: Session, code: str) -> Article | None:
    """The public page of an approved article; None also where its shop is closed."""
    row = session.execute(
        select(ArticlePage.title, ArticlePage.text, Merchant.name, Picture.public_id)
        .join(Merchant, Merchant.id == ArticlePage.merchant_id)
        .outerjoin(Picture, Picture.id == ArticlePage.picture_id)
        .where(ArticlePage.code == code)
    ).one_or_none()
    return None if row is None else Article(*row)
