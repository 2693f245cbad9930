"""A merchant's look: what its owner chose for its posters, and what the press makes of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.errors import Phrase
from merchants import sensitive_words
from merchants.models import Community, Merchant, Picture
from merchants.wording import ListedWord, clean, refuse_bad_wording
from qrcodes.models import PosterLook, SubQrCode
from qrcodes.posters import colours
from qrcodes.posters.formats import Design
from qrcodes.posters.press import Look, PosterCode

SLOGAN_MAX = 24


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
        slogan = clean(self.slogan, name=Phrase("口号"), field="slogan", longest=SLOGAN_MAX)
        refuse_bad_wording(slogan, field="slogan", listed=listed)
        return replace(self, slogan=slogan, colour=colours.checked(self.colour))


def wishes(session: Session, *, merchant_id: int) -> Wishes:
    """What was last saved, or the house's look."""
    saved = session.get(PosterLook, merchant_id)
    if saved is None:
        return Wishes()
    return Wishes(saved.slogan, saved.colour, Design(saved.design), saved.with_picture, saved.with_logo)


def save(session: Session, *, merchant_id: int, wanted: Wishes) -> None:
    """Keep this look for all of the merchant's posters."""
    checked = wanted.checked(listed=sensitive_words.listed(session))
    values = {
        "slogan": checked.slogan,
        "colour": checked.colour,
        "design": checked.design,
        "with_picture": checked.with_picture,
        "with_logo": checked.with_logo,
    }
    new = insert(PosterLook).values(merchant_id=merchant_id, **values)
    session.execute(new.on_conflict_do_update(index_elements=["merchant_id"], set_=values))


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
