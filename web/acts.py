"""The marks that acts of the staff leave in the audit log."""

from __future__ import annotations

from typing import Any

from flask import g

from core import audit


def record(action: str, subject: str = "", *, merchant_id: int | None = None, **detail: Any) -> None:
    """Put into the audit log what the signed-in person just did.

    `merchant_id` is whom it touched where that is not the person's own merchant, as with every act of an operator.
    """
    audit.record(
        g.session,
        actor_kind="operator" if g.staff.merchant_id is None else "merchant",
        actor_id=g.staff.id,
        merchant_id=merchant_id or g.staff.merchant_id,
        action=action,
        subject=subject,
        detail=detail,
    )
