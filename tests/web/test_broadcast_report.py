"""The pages of a broadcast's progress: every figure, its people, stopping and going on, and what nobody may do."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from campaigns.broadcasts.models import Broadcast, SendBatch
from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants.models import StaffRole
from tests.campaigns.sent import Sent
from tests.community import Neighbourhood
from tests.web.conftest import Browser, Crew
from web.security import limiter

# Recipients are written without the ledger that belongs to them.
pytestmark = pytest.mark.plants_violation

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STAT = re.compile(
    r'<span class="stat-label">(.*?)</span>\s*<span class="stat-value">(.*?)</span>\s*'
    r'<span class="stat-note">(.*?)</span>\s*</(?:a|div)>',
    re.DOTALL,
)


def words(markup: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", markup))).strip()


def stats(page: str) -> dict[str, tuple[str, str]]:
    return {words(label): (words(value), words(note)) for label, value, note in STAT.findall(page)}


def table(page: str, title: str) -> list[list[str]]:
    """The rows of the table below a heading."""
    part = page.partition(f'<h2 class="card-title">{title}</h2>')[2].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", part.partition("<tbody>")[2], re.DOTALL)
    return [[words(cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row, re.DOTALL)] for row in rows]


def sheet(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))


def state_of(runtime: Runtime, broadcast_id: int) -> tuple[str, str | None]:
    with runtime.transaction(Role.PLATFORM) as session:
        row = session.execute(select(Broadcast.state, Broadcast.paused_by).filter_by(id=broadcast_id)).one()
        return row.state, row.paused_by


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests export faster than any owner."""
    monkeypatch.setattr(limiter, "enabled", False)


@pytest.fixture
def street(runtime: Runtime) -> Neighbourhood:
    return Neighbourhood(runtime)


def everything(street: Neighbourhood, merchant_id: int, **fields: object) -> Sent:
    """A broadcast with shares of every fate."""
    sent = Sent(street, merchant_id, ago=8 * DAY, **fields)
    people = iter(sent.fans(400))

    def some(count: int) -> list[int]:
        return [next(people) for _ in range(count)]

    told = sent.batch(120, "accepted", told=(120, 112, 110, 2))
    quiet, lost = sent.batch(30, "accepted"), sent.batch(25, "unknown")
    opened = some(120)
    sent.share(opened, "mass", "sent", batch_id=told)
    sent.share(some(30), "mass", "sent", batch_id=quiet)
    sent.share(some(25), "mass", "unknown", batch_id=lost)
    sent.share(some(40), "window", "sent")
    sent.share(some(3), "window", "unknown")
    sent.share(some(2), "window", "rejected", errcode=45015)
    sent.share(some(1), "hello", "rejected", errcode=43004)
    sent.share(some(9), "hello", "skipped", reason="no_hello")
    sent.share(some(31), "none", "skipped", reason="month")
    sent.share(some(12), "none", "skipped", reason="muted")
    sent.share(some(20), "none", "skipped", reason="held_out")
    sent.wrote(opened[:7], sent.started_at + HOUR)
    sent.scanned(opened[:11], street.code(merchant_id).id, sent.started_at + DAY)
    sent.left(opened[20:24], sent.started_at + HOUR)
    sent.muted(opened[30:32], sent.started_at + HOUR)
    sent.tapped("https://tea.example", [b"ann", b"ann", b"ben"])
    return sent


def test_the_page_and_its_export_tell_every_fate_apart(crew: Crew, street: Neighbourhood) -> None:
    """BC-16: nothing unknown is among the accepted; what the platform left out is beside them."""
    sent = everything(street, crew.merchant_id, state="finished", finished_at=street.now - 7 * DAY)
    path = f"/merchant/broadcasts/{sent.id}/report"
    page = crew.owner.get(path).text
    assert stats(page) == {
        "已被微信接收": ("180", "30 人微信还没给数"),
        "微信过滤": ("8", "微信只给数，没有名单"),
        "微信没发成": ("2", "微信只给数，没有名单"),
        "微信拒绝": ("3", ""),
        "结果未知": ("28", ""),
        "未发": ("52", ""),
        "特意没发（对照）": ("20", ""),
        "点开链接": ("2", "共 3 次"),
        "在聊天里回了话": ("7", "48 小时内"),
        "7 天内来过": ("11", ""),
        "48 小时内取关": ("4", ""),
        "48 小时内退订": ("2", ""),
    }
    assert table(page, "怎么送到的") == [
        ["群发名额", "140", "8", "2", "0", "25", "0", "0"],
        ["聊天窗口", "40", "—", "—", "2", "3", "0", "0"],
        ["下次来访", "0", "—", "—", "1", "0", "0", "9"],
        ["没有办法送到", "0", "—", "—", "0", "0", "0", "43"],
    ]
    assert table(page, "为什么没发到") == [
        ["这个月的群发名额用完了", "31"],
        ["退订了本店", "12"],
        ["到期前没有来访", "9"],
        ["微信拒绝：聊天窗口已经关了", "2"],
        ["微信拒绝：对方已取消关注或拉黑", "1"],
    ]
    assert [row[:-1] for row in table(page, "群发的每一批")] == [
        ["第 1 批", "已被微信接收", "120", "8", "110", "2"],
        ["第 2 批", "已被微信接收", "30", "微信还没给数"],
        ["第 3 批", "结果未知", "25", "—"],
    ]
    assert "人太少，看不出来：两边都要有 100 人以上。" in page
    assert "已送达" not in page
    exported = sheet(crew.owner.post(f"{path}/export").data)
    assert exported == [
        ["项目", "说明", "人数"],
        ["状态", "已发完", ""],
        ["收件人", "", "293"],
        ["已被微信接收", "", "180"],
        ["其中微信还没给数", "", "30"],
        ["微信过滤", "", "8"],
        ["微信没发成", "", "2"],
        ["微信拒绝", "", "3"],
        ["微信拒绝", "聊天窗口已经关了", "2"],
        ["微信拒绝", "对方已取消关注或拉黑", "1"],
        ["结果未知", "", "28"],
        ["正在交给微信", "", "0"],
        ["等着发", "", "0"],
        ["等下次来访", "", "0"],
        ["未发", "", "52"],
        ["未发", "这个月的群发名额用完了", "31"],
        ["未发", "退订了本店", "12"],
        ["未发", "到期前没有来访", "9"],
        ["特意没发（对照）", "", "20"],
        ["已取消", "", "0"],
        ["第 1 批", "已被微信接收", "120"],
        ["第 1 批", "微信过滤", "8"],
        ["第 1 批", "微信发出", "110"],
        ["第 1 批", "微信没发成", "2"],
        ["第 2 批", "已被微信接收", "30"],
        ["第 2 批", "微信还没给数", ""],
        ["第 3 批", "结果未知", "25"],
        ["在聊天里回了话", "", "7"],
        ["7 天内来过", "", "11"],
        ["48 小时内取关", "", "4"],
        ["48 小时内退订", "", "2"],
        ["点开链接", "次", "3"],
        ["点开链接", "人（同一人换一天或换手机会再算）", "2"],
    ]
    figures = {row[0]: int(row[2]) for row in exported if row[1] == "" and row[2].isdecimal()}
    parts = ("已被微信接收", "微信过滤", "微信没发成", "微信拒绝", "结果未知", "未发", "特意没发（对照）")
    assert sum(figures[part] for part in parts) == figures["收件人"]
    operators = crew.operator.get(f"/operator/broadcasts/{sent.id}/report").text
    assert stats(operators) == stats(page)
    assert sheet(crew.operator.post(f"/operator/broadcasts/{sent.id}/report/export").data) == exported


def test_each_figure_opens_its_people(crew: Crew, street: Neighbourhood) -> None:
    sent = everything(street, crew.merchant_id, state="finished", finished_at=street.now - 7 * DAY)
    path = f"/merchant/broadcasts/{sent.id}/report"
    page = crew.owner.get(path).text
    links = {html.unescape(link) for link in re.findall(rf'href="({path}/people[^"]*)"', page)}
    assert len(links) > 10
    shown = re.findall(rf'class="figure" href="({path}/people[^"]*)">([\d,]+)<', page)
    figures = {html.unescape(link): int(figure) for link, figure in shown}
    # Of a mass batch the platform says how many it left out, and not whom.
    figures[f"{path}/people?route=mass&outcome=accepted"] += 10
    for link in links:
        count = 0
        address: str | None = link
        while address is not None:
            listed = crew.owner.get(address).text
            count += len(re.findall(r'<span class="fan-number">', listed))
            older = re.search(r'rel="next" href="([^"]+)"', listed)
            address = html.unescape(older[1]) if older else None
        wishes = dict(part.split("=") for part in link.partition("?")[2].split("&"))
        lines = sheet(crew.owner.post(f"{path}/people/export", wishes).data)[1:]
        assert len(lines) == count == figures.get(link, count) > 0, link
        operators = crew.operator.get(link.replace("/merchant/", "/operator/")).text
        assert "/operator/followers/" in operators
    unknown = sheet(crew.owner.post(f"{path}/people/export", {"outcome": "unknown", "route": "window"}).data)
    assert unknown[0] == ["编号", "方式", "版本", "结果", "原因", "时间"]
    assert [row[1:4] for row in unknown[1:]] == [["聊天窗口", "A", "结果未知"]] * 3
    refused = sheet(crew.owner.post(f"{path}/people/export", {"outcome": "rejected", "route": "window"}).data)
    assert [row[3:5] for row in refused[1:]] == [["微信拒绝", "聊天窗口已经关了"]] * 2
    assert "微信只给数不说是谁" in crew.owner.get(f"{path}/people?outcome=accepted&route=mass").text


def test_exports_are_the_owners_and_written_down(crew: Crew, street: Neighbourhood) -> None:
    sent = everything(street, crew.merchant_id)
    path = f"/merchant/broadcasts/{sent.id}/report"
    crew.clerk.get(path)
    assert crew.clerk.post(f"{path}/export").status_code == 403
    assert crew.clerk.post(f"{path}/people/export").status_code == 403
    crew.owner.get(path)
    assert crew.owner.post(f"{path}/people/export", {"outcome": "unknown"}).status_code == 200
    with street.runtime.transaction(Role.PLATFORM) as session:
        entry = session.scalars(select(AuditLog).order_by(AuditLog.id.desc())).first()
        assert entry is not None
        assert (entry.action, entry.subject, entry.detail) == (
            "export", f"broadcast:{sent.id}", {"people": {"outcome": "unknown"}},
        )  # fmt: skip


def test_a_running_broadcast_is_stopped_goes_on_and_is_given_up(crew: Crew, street: Neighbourhood) -> None:
    sent = Sent(street, crew.merchant_id)
    sent.share(sent.fans(5), "window", "planned")
    path = f"/merchant/broadcasts/{sent.id}/report"
    page = crew.clerk.get(path).text
    assert "正在发" in page
    assert f'{path}/pause"' in page
    assert f'{path}/cancel"' not in page
    assert crew.clerk.post(f"{path}/pause").status_code == 303
    assert state_of(street.runtime, sent.id) == ("paused", "merchant")
    assert crew.clerk.post(f"{path}/resume").status_code == 403
    page = crew.owner.get(path).text
    assert "店里的人按了暂停" in page
    assert f'{path}/resume"' in page
    assert crew.owner.post(f"{path}/resume").status_code == 303
    assert state_of(street.runtime, sent.id) == ("running", None)
    assert crew.owner.post(f"{path}/cancel").status_code == 303
    assert state_of(street.runtime, sent.id)[0] == "cancelled"
    page = crew.owner.get(path).text
    for act in ("pause", "resume", "cancel"):
        assert f'{path}/{act}"' not in page
        assert crew.owner.post(f"{path}/{act}").status_code == 409
        crew.owner.get(path)
    with street.runtime.transaction(Role.PLATFORM) as session:
        acts = session.scalars(select(AuditLog.action).filter_by(subject=f"broadcast:{sent.id}").order_by(AuditLog.id))
        assert list(acts) == ["broadcast.pause", "broadcast.resume", "broadcast.cancel"]


def test_the_operators_stop_is_not_the_merchants_to_lift(crew: Crew, street: Neighbourhood) -> None:
    sent = Sent(street, crew.merchant_id)
    sent.share(sent.fans(5), "window", "planned")
    operators, path = f"/operator/broadcasts/{sent.id}/report", f"/merchant/broadcasts/{sent.id}/report"
    crew.operator.get(operators)
    assert crew.operator.post(f"{operators}/pause", {"reason": "链接打不开"}).status_code == 303
    page = crew.owner.get(path).text
    assert "运营人员按了暂停：链接打不开" in page
    assert f'{path}/resume"' not in page
    assert crew.owner.post(f"{path}/resume").status_code == 409
    assert state_of(street.runtime, sent.id) == ("paused", "operator")
    crew.operator.get(operators)
    assert crew.operator.post(f"{operators}/resume").status_code == 303
    assert state_of(street.runtime, sent.id) == ("running", None)
    assert crew.operator.post(f"{operators}/cancel").status_code == 303
    assert state_of(street.runtime, sent.id)[0] == "cancelled"


def test_forms_need_their_token(crew: Crew, street: Neighbourhood) -> None:
    sent = Sent(street, crew.merchant_id)
    answer = crew.owner.client.post(f"/merchant/broadcasts/{sent.id}/report/pause")
    assert answer.status_code == 403
    assert state_of(street.runtime, sent.id)[0] == "running"


def test_who_was_late_is_asked(crew: Crew, street: Neighbourhood) -> None:
    late: dict[str, Any] = {"state": "late", "started_at": None, "scheduled_at": street.now - 5 * HOUR}
    now, at, never = (Sent(street, crew.merchant_id, **late) for _ in range(3))
    path = f"/merchant/broadcasts/{now.id}/report"
    assert "时间过了还没发" in crew.owner.get(path).text
    assert "请店主来决定" in crew.clerk.get(path).text
    assert crew.owner.post(f"{path}/still-wanted", {"when": "now"}).status_code == 303
    assert state_of(street.runtime, now.id)[0] == "approved"
    path = f"/merchant/broadcasts/{at.id}/report"
    for wrong in ("", "gestern", "2020-01-01T10:00"):
        crew.owner.get(path)
        crew.owner.post(f"{path}/still-wanted", {"when": "at", "at": wrong})
        assert "请选一个将来的时间。" in crew.owner.get(path).text
        assert state_of(street.runtime, at.id)[0] == "late"
    crew.owner.post(f"{path}/still-wanted", {"when": "at", "at": "2099-01-01T10:00"})
    with street.runtime.transaction(Role.PLATFORM) as session:
        row = session.get_one(Broadcast, at.id)
        assert row.scheduled_at is not None
        assert row.scheduled_at.isoformat() == "2099-01-01T02:00:00+00:00"
    assert "定在 2099年1月1日 10:00 发。" in crew.owner.get(path).text
    path = f"/merchant/broadcasts/{never.id}/report"
    crew.owner.get(path)
    assert crew.owner.post(f"{path}/cancel").status_code == 303
    assert state_of(street.runtime, never.id)[0] == "cancelled"


def test_the_page_keeps_itself_up_to_date_and_says_when_nothing_changed(crew: Crew, street: Neighbourhood) -> None:
    sent = Sent(street, crew.merchant_id)
    people = sent.fans(6)
    sent.share(people[:3], "window", "planned")
    path = f"/merchant/broadcasts/{sent.id}/report"
    first = crew.owner.get(path)
    assert 'hx-trigger="every 3s"' in first.text
    again = {"HX-Request": "true", "If-None-Match": first.headers["ETag"]}
    assert crew.owner.get(path, headers=again).status_code == 304
    sent.share(people[3:], "window", "sent")
    part = crew.owner.get(path, headers=again)
    assert part.status_code == 200
    assert "6 位收件人" in part.text
    assert "还有 3 人没发" in part.text
    assert "<html" not in part.text
    assert "csrf_token" not in part.text
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE broadcast SET state = 'cancelled' WHERE id = :id"), {"id": sent.id})
    assert "hx-trigger" not in crew.owner.get(path).text


def test_lost_answers_are_asked_for_by_a_click(crew: Crew, street: Neighbourhood) -> None:
    sent, other = Sent(street, crew.merchant_id), Sent(street, crew.merchant_id)
    batch = sent.batch(10, "unknown")
    sent.share(sent.fans(10), "mass", "unknown", batch_id=batch)
    theirs = other.batch(10, "unknown")
    path = f"/operator/broadcasts/{sent.id}/report"
    page = crew.operator.get(path).text
    assert "结果未知的批次" in page
    assert "核对" in page
    assert crew.operator.post(f"{path}/batches/{theirs}/ask").status_code == 404
    crew.operator.get(path)
    assert crew.operator.post(f"{path}/batches/{batch}/ask").status_code == 303
    with street.runtime.transaction(Role.PLATFORM) as session:
        assert session.get_one(SendBatch, batch).repeat_asked
        assert not session.get_one(SendBatch, theirs).repeat_asked
    assert "正在核对" in crew.operator.get(path).text


def test_the_operator_sees_everybodys(crew: Crew, street: Neighbourhood) -> None:
    mine = everything(street, crew.merchant_id)
    Sent(street, street.merchant("面馆"), name="加量不加价", state="finished", finished_at=street.now)
    draft = Sent(street, crew.merchant_id, name="草稿", state="draft", started_at=None)
    page = crew.operator.get("/operator/broadcasts/all").text
    assert "周末新茶" in page
    assert "1 批结果未知" in page
    assert "加量不加价" in page
    assert "草稿" not in page
    assert crew.operator.get(f"/operator/broadcasts/{draft.id}/report").status_code == 404
    assert "周末新茶" not in crew.operator.get("/operator/broadcasts/all?state=finished").text
    found = crew.operator.get("/operator/broadcasts/all?q=豆浆").text
    assert "周末新茶" in found
    assert "加量不加价" not in found
    of_one = crew.operator.get(f"/operator/broadcasts/all?merchant={crew.merchant_id}").text
    assert "全部粉丝 400 人，现在退订的 2 人" in of_one
    assert table(of_one, "退订")[0][2:] == ["190", "2", "1.1%"]
    assert "没有找到" in crew.operator.get("/operator/broadcasts/all?q=没有的").text
    rows = sheet(crew.operator.post("/operator/broadcasts/all/export", {"state": "running"}).data)
    assert [row[:5] for row in rows[1:]] == [[str(mine.id), "老王豆浆", "周末新茶", "单独群发", "正在发"]]


def test_the_list_tells_who_muted(crew: Crew, street: Neighbourhood) -> None:
    sent = everything(street, crew.merchant_id, state="finished", finished_at=street.now - 7 * DAY)
    page = crew.owner.get("/merchant/broadcasts").text
    assert f'href="/merchant/broadcasts/{sent.id}/report"' in page
    assert "400 位粉丝里，2 位退订了本店的群发（0.5%）" in page
    assert "48 小时内退订 2 人（1.1%）" in page


def test_a_neighbours_broadcast_is_not_there(
    app: Flask, crew: Crew, street: Neighbourhood, new_staff: Callable[..., int]
) -> None:
    sent = everything(street, crew.merchant_id)
    new_staff("lin", StaffRole.OWNER, street.merchant("面馆"))
    neighbour = Browser(app.test_client())
    assert neighbour.sign_in("lin").status_code == 303
    path = f"/merchant/broadcasts/{sent.id}/report"
    for address in (path, f"{path}/people", f"{path}/people?did=visited"):
        assert neighbour.get(address).status_code == 404
    for act in ("pause", "resume", "cancel", "still-wanted", "export", "people/export"):
        neighbour.get("/merchant/me")
        assert neighbour.post(f"{path}/{act}").status_code == 404, act
    assert state_of(street.runtime, sent.id)[0] == "running"


def test_a_digest_is_the_platforms(crew: Crew, street: Neighbourhood) -> None:
    sent = Sent(street, crew.merchant_id)
    with street.runtime.transaction(Role.PLATFORM) as session:
        digest = session.execute(
            text("""
                INSERT INTO broadcast (account_id, kind, state, name, started_at)
                VALUES (:account, 'digest', 'running', '本周合集', app_now()) RETURNING id"""),
            {"account": street.account_id},
        ).scalar_one()
        session.execute(
            text("""
                INSERT INTO broadcast_recipient (broadcast_id, follower_id, route, state, settled_at)
                SELECT :id, unnest(CAST(:people AS bigint[])), 'mass', 'sent', app_now()"""),
            {"id": digest, "people": sent.fans(7)},
        )
    page = crew.operator.get(f"/operator/broadcasts/{digest}/report").text
    assert stats(page)["已被微信接收"][0] == "7"
    assert crew.owner.get(f"/merchant/broadcasts/{digest}/report").status_code == 404
