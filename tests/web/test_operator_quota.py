"""额度: what is left, who used it, how it is shared, the account's switch, and sends from elsewhere."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import text

from bot.inbox import Inbox
from campaigns.broadcasts import bank, calls
from core.database import Role
from core.runtime import Runtime
from qrcodes import standing
from tests.community import Neighbourhood, new_openid, subscribed
from tests.web.conftest import Crew
from tests.web.test_standing import rows

QUOTA = "/operator/quota"


def execute(runtime: Runtime, statement: str, **given: object) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text(statement), given)


def scalar(runtime: Runtime, statement: str) -> object:
    with runtime.transaction(Role.PLATFORM) as session:
        return session.execute(text(statement)).scalar()


@pytest.fixture
def street(runtime: Runtime, crew: Crew) -> Neighbourhood:
    """The shop brought three followers; it sent to two of them, and once today."""
    street, inbox = Neighbourhood(runtime), Inbox(runtime)
    code = street.code(crew.merchant_id, "收银台")
    for _ in range(3):
        inbox.receive([subscribed(new_openid(), street.now - timedelta(days=10), code.scene)])
    standing.recount(runtime)
    month, week = bank.month_of(street.now), bank.week_of(street.now)
    with runtime.transaction(Role.PLATFORM) as session:
        fans = list(session.execute(text("SELECT id FROM follower ORDER BY id LIMIT 2")).scalars())
        taken = bank.reserve(session, fans, merchant_id=crew.merchant_id, now=street.now, policy=bank.policy(session))
        assert taken.follower_ids == set(fans)
        given = {"merchant": crew.merchant_id, "account": street.account_id, "month": month, "week": week}
        session.execute(
            text("""
                WITH sent AS (
                    INSERT INTO broadcast (account_id, merchant_id, state, started_at)
                    VALUES (:account, :merchant, 'running', app_now()) RETURNING id),
                batch AS (
                    INSERT INTO send_batch (broadcast_id, no, merchant_id, size, month, week, clientmsgid, state,
                                            msg_id)
                    SELECT id, 1, :merchant, 2, :month, :week, 'qm' || id || '-1-', 'accepted', 77 FROM sent
                    RETURNING id, broadcast_id)
                INSERT INTO broadcast_recipient (broadcast_id, follower_id, merchant_id, route, state, batch_id,
                                                 settled_at)
                SELECT broadcast_id, f, :merchant, 'mass', 'sent', id, app_now()
                FROM batch, unnest(CAST(:fans AS bigint[])) f"""),
            {**given, "fans": fans},
        )
        assert calls.spend(session, merchant_id=crew.merchant_id, now=street.now)
        session.execute(
            text("""
                INSERT INTO send_attempt (broadcast_id, batch_id, attempt, moment, at)
                SELECT broadcast_id, id, 1, 'before', :at FROM send_batch"""),
            {"at": street.now},
        )
    return street


def test_a_new_account_says_what_there_is(crew: Crew) -> None:
    page = crew.operator.get(QUOTA).text
    assert "一天 100 次" in page
    assert "现在没有人在等" in page
    assert "没有这样的群发" in crew.operator.get(f"{QUOTA}/foreign").text


def test_the_page_shows_who_used_what_and_what_is_left(crew: Crew, street: Neighbourhood) -> None:
    page = crew.operator.get(QUOTA).text
    distribution = rows(page)
    assert [row[1] for row in distribution] == ["1", "2", "0", "0", "0"]
    assert [row[2] for row in distribution[:2]] == ["3条", "2条"]
    merchants = rows(page[page.index('id="merchants"') :])
    assert merchants[0][1:] == ["2", "1,004", "1,006", "1,000", "6", "1"]
    assert f'href="/operator/traffic/standing/{crew.merchant_id}"' in page


def test_the_list_is_searched_sorted_and_paged(crew: Crew, street: Neighbourhood) -> None:
    for number in range(51):
        street.merchant(f"花店{number}")
    page = crew.operator.get(f"{QUOTA}?sort=left").text
    assert "after=50" in page
    assert len(rows(page[page.index('id="merchants"') :])) == 50
    assert "花店50" in crew.operator.get(f"{QUOTA}?sort=left&after=50").text + page
    found = crew.operator.get(f"{QUOTA}?q=花店7").text
    assert len(rows(found[found.index('id="merchants"') :])) == 1
    assert "没有找到" in crew.operator.get(f"{QUOTA}?q=没有的店").text
    assert crew.operator.get(f"{QUOTA}?sort=name").status_code == 422


def test_the_table_is_exported_and_that_is_written_down(crew: Crew, runtime: Runtime, street: Neighbourhood) -> None:
    crew.operator.get(QUOTA)
    table = crew.operator.post(f"{QUOTA}/export", data={"sort": "left"}).get_data(as_text=True)
    assert f"{crew.merchant_id}," in table
    assert ",1006,1000,6,3,2,1004,1,0" in table
    assert scalar(runtime, "SELECT count(*) FROM audit_log WHERE action = 'export' AND subject = 'quota'") == 1


POLICY = {
    "slots_kept": "2", "share_base": "500", "share_per_kept": "3", "week_most": "1", "calls_per_day": "80",
    "calls_kept": "10", "batch_size": "5000", "quiet_from": "22:00", "quiet_until": "09:00",
    "holidays": "2026-10-01\n2026-10-02\n2026-10-01", "hello_days_most": "7", "groups_most": "5",
    "repeats_unknown": "true",
}  # fmt: skip


def test_the_policy_is_changed_and_that_is_written_down(crew: Crew, runtime: Runtime, street: Neighbourhood) -> None:
    assert "3 个给商户，1 个留给平台" in crew.operator.get(f"{QUOTA}/policy").text
    assert crew.operator.post(f"{QUOTA}/policy", data=POLICY).status_code == 303
    with runtime.transaction(Role.PLATFORM) as session:
        policy = bank.policy(session)
        assert (policy.slots_kept, policy.calls_per_day, policy.repeats_unknown) == (2, 80, True)
        assert policy.holidays == (date(2026, 10, 1), date(2026, 10, 2))
        assert calls.today(session, street.now).cap == 80
    page = crew.operator.get(f"{QUOTA}/policy").text
    assert "2 个给商户，2 个留给平台" in page
    assert "2026-10-01\n2026-10-02" in page
    assert (
        scalar(runtime, "SELECT detail -> 'policy' ->> 'slots_kept' FROM audit_log WHERE action = 'quota.policy'")
        == "2"
    )


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("slots_kept", "4", "0 到 3"),
        ("calls_kept", "81", "比一天的总次数还多"),
        ("holidays", "国庆", "不是日期"),
        ("quiet_until", "22:00", "同一时刻"),
        ("batch_size", "viele", "请填整数"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_and_stays_in_the_form(
    crew: Crew, runtime: Runtime, field: str, value: str, says: str
) -> None:
    crew.operator.get(f"{QUOTA}/policy")
    answer = crew.operator.post(f"{QUOTA}/policy", data=POLICY | {field: value})
    assert answer.status_code == 422
    assert says in answer.text
    assert value in answer.text
    assert scalar(runtime, "SELECT slots_kept FROM quota_policy") == 1


def test_all_sending_is_paused_with_a_reason_and_resumed(crew: Crew, runtime: Runtime) -> None:
    crew.operator.get(QUOTA)
    assert crew.operator.post(f"{QUOTA}/pause", data={"reason": ""}).status_code == 422
    assert scalar(runtime, "SELECT paused_at FROM sending_state") is None
    assert crew.operator.post(f"{QUOTA}/pause", data={"reason": "内容有投诉"}).status_code == 303
    page = crew.operator.get(QUOTA).text
    assert "内容有投诉" in page
    assert "不会自动恢复" in page
    assert "平台暂停了所有群发" in crew.owner.get("/merchant/me/quota").text
    assert crew.operator.post(f"{QUOTA}/resume").status_code == 303
    assert scalar(runtime, "SELECT paused_at FROM sending_state") is None
    assert scalar(runtime, "SELECT count(*) FROM audit_log WHERE action LIKE 'sending.%'") == 2


@pytest.fixture
def foreign(runtime: Runtime, crew: Crew, street: Neighbourhood) -> int:
    """Somebody sent to everybody from the console, and nobody has said so yet."""
    execute(
        runtime,
        """
        INSERT INTO mass_report (msg_id, account_id, reported_at, status, total, filtered, sent, errors, is_foreign,
                                 counts_for_everybody)
        VALUES (1000, :account, app_now(), 'send success', 3, 3, 3, 0, true, true)""",
        account=street.account_id,
    )
    return 1000


def test_a_send_from_the_console_counts_for_everybody_until_it_is_labelled(
    crew: Crew, runtime: Runtime, foreign: int
) -> None:
    assert "有 1 次群发不是从这里发的" in crew.operator.get(QUOTA).text
    assert [row[1] for row in rows(crew.operator.get(QUOTA).text)] == ["0", "1", "2", "0", "0"]
    assert "先当作所有人" in crew.operator.get(f"{QUOTA}/foreign").text
    data = {"label": "some", "note": "只发给会员"}
    assert crew.operator.post(f"{QUOTA}/foreign/{foreign}", data=data).status_code == 303
    page = crew.operator.get(f"{QUOTA}/foreign").text
    assert "只发给会员" in page
    assert "先当作所有人" not in page
    page = crew.operator.get(QUOTA).text
    assert "不是从这里发的，请标注" not in page
    assert [row[1] for row in rows(page)] == ["1", "2", "0", "0", "0"]
    assert scalar(runtime, "SELECT count(*) FROM audit_log WHERE action = 'mass_report.labelled'") == 1


def test_only_a_foreign_send_can_be_labelled_and_only_as_something(crew: Crew, foreign: int) -> None:
    crew.operator.get(f"{QUOTA}/foreign")
    assert crew.operator.post(f"{QUOTA}/foreign/{foreign}", data={"label": "nobody"}).status_code == 422
    assert crew.operator.post(f"{QUOTA}/foreign/77", data={"label": "some"}).status_code == 404
