"""Nobody was there when people came: the platform's list tells of them afterwards, and a restart loses nobody."""

from __future__ import annotations

import json

from sqlalchemy import text

from bot.reconcile import Report, reconcile
from core.database import Role
from tests.conftest import Live, Program, responds, wait_until
from tests.faults.conftest import PATIENCE_S

PEOPLE = 6


def follows(live: Live) -> dict[str, str | None]:
    """Who follows according to us, with the label of the code they are credited to."""
    with live.runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(
            text("""
                SELECT f.openid, c.label FROM follower f
                JOIN follow_episode e ON e.follower_id = f.id AND e.ended_at IS NULL AND e.voided_at IS NULL
                JOIN attribution a ON a.id = e.attribution_id LEFT JOIN sub_qr_code c ON c.id = a.code_id
                WHERE f.status = 'following'""")
        )
        return {row.openid: row.label for row in rows}


def following_on_the_platform(live: Live) -> set[str]:
    return {one["openid"] for one in live.sandbox.get("/sandbox/people")["people"] if one["following"]}


def refused(live: Live) -> int:
    """Deliveries that reached nobody."""
    return sum(line["kind"] == "push" and line["verdict"] == "refused" for line in live.sandbox.get("/sandbox/log"))


def all_programs(live: Live) -> list[Program]:
    return [*live.programs.values(), live.sandbox.program]


def test_follows_nobody_heard_of_and_a_restart_of_everything(live: Live) -> None:
    """F26, and EV-16: followers and their codes come back; everything started again unfollows nobody."""
    merchant = json.loads(live.quanma("merchant", "add", "茶馆", "--json"))["id"]
    url = json.loads(live.quanma("code", "add", merchant, "--label", "门口", "--json"))["url"]
    people = [live.sandbox.post("/sandbox/people", name=f"邻居{number}")["openid"] for number in range(PEOPLE)]

    live.programs["web"].kill()
    *scanned, searched = people
    for openid in scanned:
        live.sandbox.post(f"/sandbox/people/{openid}/scan?wait=0", url=url)
    live.sandbox.post(f"/sandbox/people/{searched}/follow?wait=0")
    wait_until(lambda: refused(live) == 3 * PEOPLE, seconds=PATIENCE_S, what="the platform's giving up")
    assert follows(live) == {}
    live.programs["web"].start()
    wait_until(lambda: responds(f"{live.url}/readyz"), seconds=PATIENCE_S, what="readiness")

    reconcile(live.runtime)
    assert follows(live) == {**dict.fromkeys(scanned, "门口"), searched: None}
    fans = json.loads(live.quanma("fans", merchant, "--json"))
    assert (fans["total"], fans["following"]) == (len(scanned), len(scanned))
    assert all(fan["acquired"] for fan in fans["fans"])

    before = follows(live)
    for program in all_programs(live):
        program.kill()
    for program in all_programs(live):
        program.start()
    wait_until(lambda: responds(f"{live.sandbox.url}/sandbox/people"), seconds=PATIENCE_S, what="the sandbox")
    wait_until(lambda: responds(f"{live.url}/readyz"), seconds=PATIENCE_S, what="readiness")
    assert following_on_the_platform(live) == set(people)
    assert reconcile(live.runtime) == Report(checked=PEOPLE)
    assert follows(live) == before
