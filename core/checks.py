"""The promises as SQL: each file in `checks/` must return no row, under the platform's role."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

CHECKS = Path(__file__).resolve().parent.parent / "checks"


@dataclass(frozen=True)
class Finding:
    """What one check returned; a few rows are kept to start looking from."""

    name: str
    rows: int
    examples: list[tuple[object, ...]]


def run(session: Session, *, examples: int = 5) -> list[Finding]:
    """Run every check in the order of their names."""
    findings = []
    connection = session.connection()
    for path in sorted(CHECKS.glob("*.sql")):
        rows = [tuple(row) for row in connection.exec_driver_sql(path.read_text(encoding="utf-8").rstrip())]
        findings.append(Finding(path.stem, len(rows), rows[:examples]))
    return findings
