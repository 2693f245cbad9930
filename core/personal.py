"""The register of personal data, kept on the columns themselves (FA-6).

Every text, json or binary column says whether it holds something about a person, what for, and how long.
A column that says nothing fails the tests, so nobody adds a phone number in passing.
"""

from typing import Any, Final

PLAIN: Final[dict[str, Any]] = {"personal": None}
"""For `mapped_column(info=...)`: nothing about a follower is in here."""


def personal(purpose: str, retention: str, *, basis: str = "contract") -> dict[str, Any]:
    """For `mapped_column(info=...)`: holds something about a person, for `purpose`, until `retention`."""
    return {"personal": {"purpose": purpose, "basis": basis, "retention": retention}}
