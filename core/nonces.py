"""Calls that may arrive twice and act once: the same nonce gets the same answer (CO-6).

Whoever calls makes up a nonce, and repeats it when the answer was lost. The guard is one INSERT within the
transaction of the work: of two at the same moment the second waits for the first, and what was rolled back has left
nothing behind, so a call that was refused or cut off may be made again with its nonce.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from psycopg.errors import LockNotAvailable
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.database import rows_changed
from core.errors import BusinessError

LONGEST: Final = 64
KEPT: Final = timedelta(days=7)
"""For how long the same call gets the same answer; the nightly forgetting deletes what is older."""


class NonceMissing(BusinessError):
    code = "nonce_missing"
    status = 400
    message = "请求里少了编号，请刷新页面再试。"


class NonceTooLong(BusinessError):
    code = "nonce_too_long"
    status = 400
    message = "请求的编号不对，请刷新页面再试。"


class NonceReused(BusinessError):
    """Something else was asked under this nonce before."""

    code = "nonce_reused"
    status = 422
    message = "这个请求和刚才的不一样，请刷新页面再试。"


class UnderWay(BusinessError):
    """The same call is being worked on, and does not come to an end soon enough to be waited for."""

    code = "under_way"
    status = 409
    message = "上一次提交还在处理，请过几秒再看结果。"


@dataclass(frozen=True)
class Answered:
    """What a call was answered."""

    status: int
    answer: dict[str, Any]


def once(
    session: Session,
    *,
    actor: str,
    route: str,
    nonce: str,
    body: Mapping[str, Any],
    merchant_id: int | None = None,
    follower_id: int | None = None,
) -> Answered | None:
    """What this call was answered before; None where it is the first, and `keep` will have to be called.

    Ask before anything else is done or refused: what made the first call possible may be over by now.
    """
    if not nonce:
        raise NonceMissing
    if len(nonce) > LONGEST or not nonce.isprintable():
        raise NonceTooLong
    digest = body_hash(body)
    call = {"actor": actor, "route": route, "nonce": nonce}
    try:
        begun = session.execute(_BEGIN, {**call, "merchant": merchant_id, "follower": follower_id, "hash": digest})
    except DBAPIError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise UnderWay from error
        raise
    if rows_changed(begun):
        return None
    row = session.execute(_FIND, call).one_or_none()
    if row is None:  # Rolled back while this one looked.
        raise UnderWay
    if bytes(row.body_hash) != digest:
        raise NonceReused
    if not row.status:
        raise UnderWay
    return Answered(row.status, row.answer)


def keep(
    session: Session, *, actor: str, route: str, nonce: str, answer: Mapping[str, Any], status: int = 200
) -> Answered:
    """Keep the answer of a call that `once` let through."""
    session.execute(
        _KEEP,
        {"actor": actor, "route": route, "nonce": nonce, "status": status, "answer": json.dumps(dict(answer))},
    )
    return Answered(status, dict(answer))


def answer_once(
    session: Session,
    work: Callable[[], Mapping[str, Any]],
    *,
    actor: str,
    route: str,
    nonce: str,
    body: Mapping[str, Any],
    merchant_id: int | None = None,
    follower_id: int | None = None,
) -> Answered:
    """Do `work`, whose result is plain JSON, unless this call was answered before; returns the answer."""
    answered = once(
        session, actor=actor, route=route, nonce=nonce, body=body, merchant_id=merchant_id, follower_id=follower_id
    )
    return answered or keep(session, actor=actor, route=route, nonce=nonce, answer=work())


def body_hash(body: Mapping[str, Any]) -> bytes:
    """The same for the same values, in whichever order they come."""
    plain = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).digest()


_BEGIN: Final = text("""
    INSERT INTO answered_call (actor, route, nonce, merchant_id, follower_id, body_hash)
    VALUES (:actor, :route, :nonce, :merchant, :follower, :hash)
    ON CONFLICT (actor, route, nonce) DO NOTHING""")
_FIND: Final = text("""
    SELECT body_hash, status, answer FROM answered_call
    WHERE actor = :actor AND route = :route AND nonce = :nonce""")
_KEEP: Final = text("""
    UPDATE answered_call SET status = :status, answer = CAST(:answer AS jsonb)
    WHERE actor = :actor AND route = :route AND nonce = :nonce""")
