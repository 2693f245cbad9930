"""Pages that keep themselves up to date ask for their living part alone, and cost no more than it."""

from __future__ import annotations

import pytest

from core.database import Role
from core.runtime import Runtime
from tests.community import Neighbourhood
from tests.conftest import statements
from tests.web.conftest import Crew

AROUND = {
    "/merchant/fans?following=1": ("GROUP BY tag", "FROM sub_qr_code", "SELECT count(*) FROM (SELECT"),
    "/merchant/codes": ("count(*) AS count_1 FROM code_handover", "ORDER BY max(sub_qr_code.id)"),
    "/merchant/codes/{code}": ("FROM code_handover",),
    "/operator/codes": ("FROM scene_pool",),
    "/operator/codes/{code}": ("FROM code_trial", "FROM code_owner JOIN"),
}
"""What each page asks the database for the sake of what does not keep itself up to date."""


@pytest.mark.parametrize("path", AROUND)
def test_a_poll_asks_the_database_for_the_living_part_alone(runtime: Runtime, crew: Crew, path: str) -> None:
    code = Neighbourhood(runtime).code(crew.merchant_id, "收银台")
    browser, role = (crew.owner, Role.MERCHANT) if path.startswith("/merchant") else (crew.operator, Role.PLATFORM)
    asked = {}
    for who, headers in (("page", {}), ("poll", {"HX-Request": "true"})):
        with statements(runtime, role) as noted:
            answer = browser.get(path.format(code=code.id), headers=headers)
        assert (answer.status_code, "<html" in answer.text) == (200, who == "page")
        everything = " ".join(" ".join(noted).split())
        asked[who] = {what for what in AROUND[path] if what in everything}
    assert asked == {"page": set(AROUND[path]), "poll": set()}
