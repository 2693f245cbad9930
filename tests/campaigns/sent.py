"""A broadcast that went out, written row by row as the sender would leave it, for tests of what is told about it.

The ledger of slots and calls that belongs to such rows is left out, so these tests answer for no check.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select, text

from campaigns.broadcasts.models import Broadcast, LinkTap, MassReport, SendBatch, ShortLink
from core.clock import business_day
from core.database import Role
from core.runtime import Runtime
from tests.community import Neighbourhood

_numbers = itertools.count(1)


class Sent:
    """One merchant's broadcast and the fans it was for."""

    def __init__(
        self, street: Neighbourhood, merchant_id: int, *, ago: timedelta = timedelta(hours=3), **fields: Any
    ) -> None:
        self.runtime: Runtime = street.runtime
        self.merchant_id = merchant_id
        self.started_at: datetime = street.now - ago
        values = {
            "account_id": street.account_id, "merchant_id": merchant_id, "name": "周末新茶", "state": "running",
            "started_at": self.started_at, **fields,
        }  # fmt: skip
        with self.runtime.transaction(Role.PLATFORM) as session:
            self.id: int = session.execute(insert(Broadcast).values(values).returning(Broadcast.id)).scalar_one()

    def fans(self, count: int) -> list[int]:
        """So many more fans, by their follower ids."""
        with self.runtime.transaction(Role.PLATFORM, statement_timeout_s=600) as session:
            first = next(_numbers) * 10_000_000
            given = {"first": first, "last": first + count - 1, "merchant": self.merchant_id, "at": self.started_at}
            session.execute(
                text("""
                    WITH made AS (
                        INSERT INTO follower (account_id, openid, person_key, status, first_seen_at, last_seen_at)
                        SELECT (SELECT account_id FROM merchant WHERE id = :merchant),
                               'oSent' || lpad(n::text, 23, '0'), int8send(n), 'following', :at, :at
                        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n RETURNING id)
                    INSERT INTO fan (merchant_id, follower_id, number, first_touch_at, last_touch_at)
                    SELECT :merchant, id, 'F' || lpad(id::text, 9, '0'), :at, :at FROM made"""),
                given,
            )
            newest = text("SELECT follower_id FROM fan WHERE merchant_id = :m ORDER BY follower_id DESC LIMIT :n")
            found = session.execute(newest, {"m": self.merchant_id, "n": count}).scalars().all()
        return sorted(found)

    def share(self, followers: Sequence[int], route: str, state: str, **fields: Any) -> None:
        """What these followers' shares came to; who was sent something was sent it at the start, unless said."""
        is_over = state in ("sent", "rejected", "unknown", "skipped", "cancelled")
        row = {
            "variant": "a", "reason": None, "batch_id": None, "errcode": None,
            "settled_at": self.started_at if is_over else None, **fields,
        }  # fmt: skip
        with self.runtime.transaction(Role.PLATFORM, statement_timeout_s=600) as session:
            session.execute(
                text("""
                    INSERT INTO broadcast_recipient (broadcast_id, follower_id, merchant_id, route, state, variant,
                                                     reason, batch_id, errcode, settled_at)
                    SELECT :id, f, :merchant, :route, :state, :variant, :reason, :batch_id, :errcode, :settled_at
                    FROM unnest(CAST(:followers AS bigint[])) f"""),
                {**row, "id": self.id, "merchant": self.merchant_id, "route": route, "state": state,
                 "followers": list(followers)},
            )  # fmt: skip

    def batch(self, size: int, state: str, *, told: tuple[int, int, int, int] | None = None, **fields: Any) -> int:
        """A mass call; `told` are the platform's TotalCount, FilterCount, SentCount and ErrorCount."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            no = session.execute(
                select(func.count()).select_from(SendBatch).where(SendBatch.broadcast_id == self.id)
            ).scalar_one()
            day = business_day(self.started_at)
            values = {
                "broadcast_id": self.id, "no": no + 1, "merchant_id": self.merchant_id, "size": size, "state": state,
                "month": day.replace(day=1), "clientmsgid": f"test-{self.id}-{no + 1}",
                "msg_id": self.id * 1_000 + no if state == "accepted" else None, "called_at": self.started_at, **fields,
            }  # fmt: skip
            if "week" in SendBatch.__table__.columns:
                values.setdefault("week", day - timedelta(days=day.weekday()))
            batch = session.execute(insert(SendBatch).values(values).returning(SendBatch)).scalar_one()
            if told is not None:
                counts = dict(zip(("total", "filtered", "sent", "errors"), told, strict=True))
                account_id = session.execute(select(Broadcast.account_id).filter_by(id=self.id)).scalar_one()
                report = {"msg_id": batch.msg_id, "account_id": account_id, "reported_at": self.started_at}
                session.execute(insert(MassReport).values(**report, status="send success", **counts))
            return int(batch.id)

    def tapped(self, target: str, visitors: Sequence[bytes], *, variant: str = "a") -> None:
        """A link of its words, and who opened it."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            values = {
                "code": f"c{next(_numbers)}", "merchant_id": self.merchant_id, "broadcast_id": self.id,
                "variant": variant, "target": target,
            }  # fmt: skip
            link_id = session.execute(insert(ShortLink).values(values).returning(ShortLink.id)).scalar_one()
            for visitor in visitors:
                session.execute(insert(LinkTap).values(link_id=link_id, merchant_id=self.merchant_id, visitor=visitor))

    def scanned(self, followers: Sequence[int], code_id: int, at: datetime, **marks: bool) -> None:
        """They came by."""
        with self.runtime.transaction(Role.PLATFORM, statement_timeout_s=600) as session:
            session.execute(
                text("""
                    INSERT INTO scan (month, inbox_id, follower_id, code_id, merchant_id, scene, scanned_at,
                                      led_to_follow, by_staff, is_test)
                    SELECT :month, f + CAST(:round AS bigint) * 1000000000, f, :code, :merchant, 's', :at, false,
                           :by_staff, :is_test
                    FROM unnest(CAST(:followers AS bigint[])) f"""),
                {"month": at.date().replace(day=1), "code": code_id, "merchant": self.merchant_id, "at": at,
                 "followers": list(followers), "round": next(_numbers), "by_staff": False, "is_test": False, **marks},
            )  # fmt: skip

    def wrote(self, followers: Sequence[int], at: datetime, *, merchant_id: int | None = None) -> None:
        """They wrote, and it was this merchant's conversation."""
        with self.runtime.transaction(Role.PLATFORM, statement_timeout_s=600) as session:
            session.execute(
                text("""
                    INSERT INTO message_window (inbox_id, follower_id, merchant_id, trigger, opened_at, expires_at,
                                                allowance)
                    SELECT f + CAST(:round AS bigint) * 1000000000, f, :merchant, 'message', :at,
                           CAST(:at AS timestamptz) + interval '48 hours', 5
                    FROM unnest(CAST(:followers AS bigint[])) f"""),
                {"merchant": merchant_id or self.merchant_id, "at": at, "followers": list(followers),
                 "round": next(_numbers)},
            )  # fmt: skip

    def left(self, followers: Sequence[int], at: datetime) -> None:
        """They left the account."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            given = {"followers": list(followers), "at": at, "since": self.started_at - timedelta(days=9)}
            # Each names the other; the database looks at the end.
            session.execute(
                text("""
                    INSERT INTO follow_episode (follower_id, started_at, ended_at, source, attribution_id)
                    SELECT f, :since, :at, 'event', -f FROM unnest(CAST(:followers AS bigint[])) f"""),
                given,
            )
            session.execute(
                text("""
                    WITH credited AS (
                        INSERT INTO attribution (episode_id, follower_id, kind, followed_at, rule, rule_version, source)
                        SELECT id, follower_id, 'new', started_at, 'first-follow', 1, 'event'
                        FROM follow_episode WHERE follower_id = ANY(:followers) RETURNING id, episode_id)
                    UPDATE follow_episode e SET attribution_id = c.id FROM credited c WHERE e.id = c.episode_id"""),
                given,
            )

    def muted(self, followers: Sequence[int], at: datetime) -> None:
        """They want no broadcasts of this merchant."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            session.execute(
                text("UPDATE fan SET muted_at = :at WHERE merchant_id = :m AND follower_id = ANY(:followers)"),
                {"at": at, "m": self.merchant_id, "followers": list(followers)},
            )
