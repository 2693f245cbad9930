"""A street with several shops whose fans overlap, and approved items to gather."""

import io
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from PIL import Image
from sqlalchemy import CursorResult, text, update
from sqlalchemy.orm import Session

from bot.inbox import Inbox
from campaigns.audience import as_stored
from campaigns.broadcasts import content, digest
from campaigns.broadcasts.models import Broadcast, BroadcastKind, BroadcastState, BroadcastWords, WordsKind
from core.database import Role
from core.runtime import Runtime
from merchants import pictures
from qrcodes.codes import new_public_id
from qrcodes.fans import Filter
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed

OPERATOR_ID = 1


class Street:
    """Shops by the letters A, B, C, …; fans by name."""

    def __init__(self, runtime: Runtime, shops: str = "ABC") -> None:
        self.runtime = runtime
        self.neighbourhood = Neighbourhood(runtime)
        self.inbox = Inbox(runtime)
        self.shops: dict[str, Code] = {}
        self.openids: dict[str, str] = {}
        self.ids: dict[str, int] = {}
        for letter in shops:
            self.shops[letter] = self.neighbourhood.code(self.neighbourhood.merchant(f"店{letter}"))

    def merchant(self, letter: str) -> int:
        return self.shops[letter].merchant_id

    def fan(self, name: str, of: str) -> int:
        """Somebody who touched these shops, in this order."""
        openid, at = new_openid(), self.neighbourhood.now - timedelta(days=3)
        first, others = of[0], of[1:]
        self.inbox.receive([subscribed(openid, at, self.shops[first].scene)])
        for number, letter in enumerate(others, start=1):
            self.inbox.receive([scanned(openid, at + timedelta(minutes=number), self.shops[letter].scene)])
        with self.runtime.transaction(Role.PLATFORM) as session:
            found = session.execute(text("SELECT id FROM follower WHERE openid = :o"), {"o": openid}).scalar_one()
        self.openids[name], self.ids[name] = openid, found
        return int(found)

    def fans(self, **many: int) -> None:
        """So many fans of each set: fans(AB=3, C=2)."""
        for of, count in many.items():
            for number in range(count):
                self.fan(f"{of}{number}", of)

    def item(self, letter: str, *, wanted: Filter | None = None, is_approved: bool = True, colour: str = "") -> int:
        """An item of a shop, as its merchant wrote it and an operator let it through."""
        merchant_id = self.merchant(letter)
        with self.runtime.transaction(Role.PLATFORM) as session:
            item = Broadcast(
                account_id=self.neighbourhood.account_id,
                merchant_id=merchant_id,
                kind=BroadcastKind.ITEM,
                name=f"{letter}的内容",
                wanted=as_stored(wanted or Filter()),
            )
            session.add(item)
            session.flush()
            said: dict[str, Any] = {"title": f"{letter}有新茶", "summary": "今天现做", "text": f"{letter}的正文"}
            if colour:
                said |= {"picture_id": self.picture(session, merchant_id, colour)}
            session.add(BroadcastWords(broadcast_id=item.id, merchant_id=merchant_id, kind=WordsKind.ARTICLE, **said))
            session.flush()
            agreed = {"words": content.frozen(content.load(session, item.id))}
            if is_approved:
                for state in (BroadcastState.SUBMITTED, BroadcastState.APPROVED):
                    mine = update(Broadcast).where(Broadcast.id == item.id)
                    session.execute(mine.values(state=state, decided_at=self.neighbourhood.now, evidence=agreed))
            return item.id

    @staticmethod
    def picture(session: Session, merchant_id: int, colour: str) -> int:
        file = io.BytesIO()
        Image.new("RGB", (320, 240), colour).save(file, "PNG")
        prepared = pictures.prepare(file.getvalue())
        return pictures.save(session, merchant_id=merchant_id, picture=prepared, public_id=new_public_id())

    def gather(self, item_ids: Iterable[int]) -> int:
        with self.runtime.transaction(Role.PLATFORM) as session:
            digest_id = digest.create(
                session,
                account_id=self.neighbourhood.account_id,
                name="周末好味",
                operator_id=OPERATOR_ID,
                now=self.runtime.now(),
            )
            for item_id in item_ids:
                digest.add(session, digest_id=digest_id, item_id=item_id)
            return digest_id

    def forecast(self, digest_id: int) -> digest.Forecast:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return digest.forecast(session, digest_id, now=self.runtime.now())

    def approve(self, digest_id: int) -> digest.Forecast:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return digest.approve(
                session,
                digest_id=digest_id,
                seen=digest.signature(digest.items(session, digest_id)),
                scheduled_at=None,
                operator_id=OPERATOR_ID,
                now=self.runtime.now(),
            )

    def step(self, broadcast_id: int, *states: BroadcastState) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            for state in states:
                session.execute(update(Broadcast).where(Broadcast.id == broadcast_id).values(state=state))

    def freeze(self, digest_id: int) -> int:
        self.step(digest_id, BroadcastState.FREEZING)
        with self.runtime.transaction(Role.PLATFORM) as session:
            return digest.freeze(session, digest_id)

    def do(self, statement: str, **values: Any) -> list[Any]:
        with self.runtime.transaction(Role.PLATFORM) as session:
            result = session.execute(text(statement), values)
            return list(result) if isinstance(result, CursorResult) and result.returns_rows else []

    def given(self, digest_id: int) -> dict[str, str]:
        """By the name of each fan: the letters of the merchants in their message, or why there are none."""
        letters = {shop.merchant_id: letter for letter, shop in self.shops.items()}
        names = {follower_id: name for name, follower_id in self.ids.items()}
        rows = self.do(
            """
            SELECT r.follower_id, r.reason,
                   ARRAY(SELECT b.merchant_id FROM digest_group g
                         CROSS JOIN unnest(g.items) WITH ORDINALITY AS i(id, place) JOIN broadcast b ON b.id = i.id
                         WHERE g.digest_id = r.broadcast_id AND g.no = r.group_no ORDER BY i.place) AS merchants
            FROM broadcast_recipient r WHERE r.broadcast_id = :id""",
            id=digest_id,
        )
        return {names[row[0]]: row[1] or "".join(letters[one] for one in row[2]) for row in rows}
