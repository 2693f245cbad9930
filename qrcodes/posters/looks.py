"""A merchant's look: what its owner chose for its posters, and what the press makes of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from merchants import sensitive_words
from merchants.models import Community, Merchant, Picture
from merchants.wording import ListedWord
from qrcodes.models import PosterLook, SubQrCode
from qrcodes.posters import colours, slogans
from qrcodes.posters.formats import Design
from qrcodes.posters.press import Look, PosterCode


@dataclass(frozen=True)
class Wishes:
    """What an owner may choose."""

    slogan: str = ""
    colour: str = colours.DEFAULT
    design: Design = Design.VIVID
    with_picture: bool = True
    """The picture of the shop's card, if it has one."""
    with_logo: bool = False
    """The same picture, small, in the middle of the code."""

    def checked(self, *, listed: Iterable[ListedWord]) -> "Wishes":
        """The same as it may be printed; raises `Invalid`. A slogan obeys the rules of all words to the public.

        `listed` are the operator's own words.
        """
        slogan = slogans.checked(self.slogan, listed=listed)
        return replace(self, slogan=slogan, colour=colours.checked(self.colour))


def wishes(session: Session, *, merchant_id: int) -> Wishes:
    """What is printed: the look that was last saved or the house's, with the slogan that was approved."""
    slogan = slogans.in_force(session, merchant_id=merchant_id)
    saved = session.get(PosterLook, merchant_id)
    if saved is None:
        return Wishes(slogan)
    return Wishes(slogan, saved.colour, Design(saved.design), saved.with_picture, saved.with_logo)


def wanted_next(session: Session, *, merchant_id: int) -> Wishes:
    """The same as its author last meant it: with a slogan that waits or was refused."""
    now = wishes(session, merchant_id=merchant_id)
    version = slogans.newest(session, merchant_id=merchant_id)
    return now if version is None else replace(now, slogan=version.slogan)


def printable(session: Session, *, merchant_id: int, wanted: Wishes) -> Wishes:
    """A look with no other words than those that were approved."""
    approved = slogans.in_force(session, merchant_id=merchant_id)
    return wanted if wanted.slogan in ("", approved) else replace(wanted, slogan=approved)


def save(session: Session, *, merchant_id: int, wanted: Wishes, now: datetime, operator_id: int | None = None) -> None:
    """Keep this look for all of the merchant's posters; a new slogan of the merchant's own waits for the operator."""
    checked = wanted.checked(listed=sensitive_words.listed(session))
    values = {
        "colour": checked.colour,
        "design": checked.design,
        "with_picture": checked.with_picture,
        "with_logo": checked.with_logo,
    }
    new = insert(PosterLook).values(merchant_id=merchant_id, **values)
    session.execute(new.on_conflict_do_update(index_elements=["merchant_id"], set_=values))
    if operator_id is None:
        slogans.propose(session, merchant_id=merchant_id, slogan=checked.slogan)
    else:
        slogans.put_in_force(session, merchant_id=merchant_id, slogan=checked.slogan, operator_id=operator_id, now=now)


def look(session: Session, *, merchant_id: int, wanted: Wishes) -> Look:
    """Everything the press needs to know of a merchant."""
    merchant = session.get_one(Merchant, merchant_id)
    wants_picture = (wanted.with_picture or wanted.with_logo) and merchant.picture_id is not None
    picture = session.get(Picture, merchant.picture_id) if wants_picture else None
    return Look(
        name=merchant.name,
        community=session.get_one(Community, merchant.community_id).name,
        slogan=wanted.slogan,
        colour=wanted.colour,
        picture=picture.content if picture else None,
        design=wanted.design,
        with_picture=wanted.with_picture,
        with_logo=wanted.with_logo,
    )


def on_poster(code: SubQrCode) -> PosterCode:
    """A code as a poster shows it. It has to have a url: codes printed before us have none."""
    if code.url is None:
        raise ValueError(f"code {code.id} has no url")
    return PosterCode(code.url, code.label, code.place, code.permanent)
