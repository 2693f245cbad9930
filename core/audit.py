"""The audit log: who did what to whom. Rows are chained by the database and never change (AU-9)."""

from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from core.models import AuditLog


def record(
    session: Session,
    *,
    actor_kind: str,
    action: str,
    actor_id: int | None = None,
    merchant_id: int | None = None,
    subject: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Add one entry to the same transaction as the act itself.

    `actor_kind` is "operator", "merchant", "follower" or "system"; `subject` names the thing, such as "code:12".
    Never put a phone, an openid or message text into `detail`.
    """
    session.execute(
        insert(AuditLog),
        {
            "actor_kind": actor_kind,
            "actor_id": actor_id,
            "merchant_id": merchant_id,
            "action": action,
            "subject": subject,
            "detail": detail or {},
        },
    )
