"""A shop with a picture, fans and an owner who writes broadcasts."""

from __future__ import annotations

import io
from datetime import timedelta

from PIL import Image
from sqlalchemy import text

from bot.inbox import Inbox
from campaigns.broadcasts import approval, content, writing
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import Broadcast, WordsKind
from campaigns.broadcasts.writing import Draft
from core.database import Role
from core.runtime import Runtime
from merchants import pictures
from qrcodes.codes import new_public_id
from tests.community import Neighbourhood, new_openid, subscribed

WRITER, OPERATOR = 7, 8


class Desk:
    """One shop and what its owner and the operator do; every step in a transaction of its own."""

    def __init__(self, runtime: Runtime, name: str = "茶馆", *, fans: int = 3) -> None:
        self.runtime = runtime
        self.street = Neighbourhood(runtime)
        self.id = self.street.merchant(name)
        self.code = self.street.code(self.id)
        self.openids = [self.welcome() for _ in range(fans)]

    @property
    def public_url(self) -> str:
        return self.runtime.settings.public_url

    def welcome(self, *, ago: timedelta = timedelta(days=3)) -> str:
        openid = new_openid()
        Inbox(self.runtime).receive([subscribed(openid, self.street.now - ago, self.code.scene)])
        return openid

    def follower(self, openid: str) -> int:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return int(session.execute(text("SELECT id FROM follower WHERE openid = :o"), {"o": openid}).scalar_one())

    def picture(self, colour: str = "#07c160") -> int:
        file = io.BytesIO()
        Image.new("RGB", (320, 240), colour).save(file, "PNG")
        with self.runtime.transaction(Role.PLATFORM) as session:
            prepared = pictures.prepare(file.getvalue())
            return pictures.save(session, merchant_id=self.id, picture=prepared, public_id=new_public_id())

    def write(self, draft: Draft | str = "新茶到了") -> int:
        """A draft as its author saves it."""
        wanted = Draft({"a": Words(WordsKind.TEXT, draft)}) if isinstance(draft, str) else draft
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            broadcast_id = writing.create(session, merchant_id=self.id, staff_id=WRITER)
        self.save(broadcast_id, wanted)
        return broadcast_id

    def save(self, broadcast_id: int, draft: Draft) -> None:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            writing.save(
                session,
                merchant_id=self.id,
                broadcast_id=broadcast_id,
                draft=draft,
                public_url=self.public_url,
                now=self.runtime.now(),
            )

    def submit(self, broadcast_id: int) -> None:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            writing.submit(
                session,
                merchant_id=self.id,
                broadcast_id=broadcast_id,
                public_url=self.public_url,
                now=self.runtime.now(),
            )

    def approve(self, broadcast_id: int, *, seen: str | None = None, operator_id: int = OPERATOR) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            now = self.runtime.now()
            shown = approval.review(session, broadcast_id=broadcast_id, public_url=self.public_url, now=now)
            approval.approve(
                session,
                broadcast_id=broadcast_id,
                operator_id=operator_id,
                operator_name="小李",
                seen=shown.seen if seen is None else seen,
                public_url=self.public_url,
                new_code=self.runtime.new_code,
                now=now,
            )

    def approved(self, draft: Draft | str = "新茶到了") -> int:
        """A broadcast that everybody agreed to."""
        broadcast_id = self.write(draft)
        self.submit(broadcast_id)
        self.approve(broadcast_id)
        return broadcast_id

    def get(self, broadcast_id: int) -> Broadcast:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return session.get_one(Broadcast, broadcast_id)

    def words(self, broadcast_id: int) -> dict[str, Words]:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return content.load(session, broadcast_id)
