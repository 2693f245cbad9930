"""Codes as a register: conditions, acts on many, the export, the pool's meter, what is about to end, hand-over."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update

from core import outbox
from core.database import Role
from core.jobs import drain
from core.runtime import Runtime
from qrcodes import codes, handovers
from qrcodes.models import CodeState, ScenePool, SubQrCode
from tests.community import Neighbourhood
from tests.web.shops import Shop, open_shop


@pytest.fixture
def shops(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> tuple[Shop, Shop]:
    street = Neighbourhood(runtime)
    return (
        open_shop(app, street, new_staff, "老王豆浆", "wang", label="前台"),
        open_shop(app, street, new_staff, "阿香花店", "xiang", label="花架"),
    )


@pytest.fixture
def shop(shops: tuple[Shop, Shop]) -> Shop:
    return shops[0]


def put(runtime: Runtime, code_id: int, **values: object) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(SubQrCode).where(SubQrCode.id == code_id).values(**values))


def stored(runtime: Runtime) -> dict[str, SubQrCode]:
    with runtime.transaction(Role.PLATFORM) as session:
        return {code.label: code for code in session.scalars(select(SubQrCode))}


def temporary(shop: Shop, label: str, ends: datetime) -> int:
    """A temporary code that works until then."""
    with shop.runtime.transaction(Role.PLATFORM) as session:
        wanted = codes.Wanted(label, days=7)
        code_id = codes.add(session, merchant_id=shop.merchant_id, wanted=wanted, now=shop.street.now).id
        codes.record_created(session, code_id=code_id, ticket="t", url="http://weixin.qq.com/q/t", expires_at=ends)
    return code_id


FULL = {
    "label": "前台", "kind": "poster", "place": "墙上", "group": "东门", "batch": "春节", "copies": "300",
    "cost": "1280.50", "goal": "8", "valid_from": "2026-01-01", "valid_to": "2026-02-01",
}  # fmt: skip


def test_everything_about_a_code_is_kept_and_shown(shop: Shop) -> None:
    path = f"/merchant/codes/{shop.code.id}"
    shop.owner.get(path)
    assert shop.owner.post(path, FULL).status_code == 303
    code = stored(shop.runtime)["前台"]
    assert (code.group_name, code.batch, code.printed_copies, code.cost_fen) == ("东门", "春节", 300, 128_050)
    assert code.daily_goal == 8
    page = shop.owner.get(path).text
    for words in ("1280.50 元", "300", "新关注 8 人", "已过停用日", 'value="2026-01-01"'):
        assert words in page
    assert "已过停用日" in shop.owner.get("/merchant/codes").text


BAD_CHANGES: list[dict[str, str]] = [
    {"copies": "-1"}, {"copies": "1.5"}, {"cost": "-3"}, {"cost": "1.001"}, {"cost": "NaN"}, {"cost": "1e9"},
    {"goal": "-1"}, {"goal": "10001"}, {"goal": "2.5"},
    {"valid_from": "yesterday"}, {"valid_to": "2025-12-31"}, {"group": "长" * 31}, {"merchant_id": "2"},
]  # fmt: skip


def test_what_cannot_be_is_refused(shop: Shop) -> None:
    path = f"/merchant/codes/{shop.code.id}"
    shop.owner.get(path)
    for changes in BAD_CHANGES:
        assert shop.owner.post(path, FULL | changes).status_code == 422, changes
    assert stored(shop.runtime)["前台"].kind == "counter"


def test_lists_are_narrowed_by_every_condition(shop: Shop) -> None:
    ends = shop.street.now + timedelta(days=2)
    put(shop.runtime, shop.street.code(shop.merchant_id, "三号桌").id, kind="table", group_name="二楼", batch="春节")
    temporary(shop, "传单", ends)
    for query, wanted in {
        "kind=table": {"三号桌"},
        "group=二楼": {"三号桌"},
        "batch=春节": {"三号桌"},
        "q=二楼": {"三号桌"},
        "life=temporary": {"传单"},
        "life=ending": {"传单"},
        "life=over": set(),
        "life=permanent": {"前台", "三号桌"},
    }.items():
        page = shop.owner.get(f"/merchant/codes?{query}").text
        assert {label for label in ("三号桌", "传单", "前台") if f"勾选“{label}”" in page} == wanted, query
    assert shop.owner.get("/merchant/codes?life=forever").status_code == 422


def test_many_are_changed_and_retired_but_only_ones_own(shops: tuple[Shop, Shop]) -> None:
    shop, other = shops
    table = shop.street.code(shop.merchant_id, "三号桌")
    act = {"act": "change", "new_group": "一楼", "new_cost": "5"}
    shop.owner.get("/merchant/codes")
    assert shop.owner.post("/merchant/codes/many", act | {"code": str(other.code.id)}).status_code == 422
    both = {"code": [str(shop.code.id), str(table.id)]}
    assert shop.owner.post("/merchant/codes/many", act | both).status_code == 303  # type: ignore[arg-type]
    now = stored(shop.runtime)
    assert {label: code.group_name for label, code in now.items()} == {"前台": "一楼", "三号桌": "一楼", "花架": ""}
    assert now["前台"].cost_fen == 500
    for goal, stored_goal in (("8", 8), ("", 8), ("0", None)):
        more = {"act": "change", "new_goal": goal, "new_place": "楼下"}
        assert shop.owner.post("/merchant/codes/many", more | both).status_code == 303  # type: ignore[arg-type]
        assert {label: code.daily_goal for label, code in stored(shop.runtime).items()} == {
            "前台": stored_goal, "三号桌": stored_goal, "花架": None,
        }  # fmt: skip
    retire = {"act": "retire", "scope": "all", "q": "三号"}
    assert shop.owner.post("/merchant/codes/many", retire).status_code == 303
    assert {label: code.state for label, code in stored(shop.runtime).items()} == {
        "前台": CodeState.ACTIVE, "三号桌": CodeState.RETIRED, "花架": CodeState.ACTIVE,
    }  # fmt: skip
    for nonsense in ({"act": "retire"}, {"act": "change", "code": str(shop.code.id)}, {"act": "drop"}, {"code": "01"}):
        assert shop.owner.post("/merchant/codes/many", nonsense).status_code == 422


def test_formulas_leave_defused(shop: Shop) -> None:
    """#99."""
    evil = ["=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "＝1+1"]
    for label in evil:
        put(shop.runtime, shop.street.code(shop.merchant_id, label).id, place=label, group_name=label)
    shop.owner.get("/merchant/codes")
    rows = list(csv.reader(io.StringIO(shop.owner.post("/merchant/codes/export").text)))
    assert {row[1] for row in rows[2:]} | {row[1] for row in rows[1:]} == {f"'{label}" for label in evil} | {"前台"}
    assert all(not cell.startswith(tuple("=+-@＝")) for row in rows for cell in row)


def test_the_pool_tells_how_long_it_lasts(shop: Shop, app: Flask, new_staff: Callable[..., int]) -> None:
    new_staff("operator")
    operator = type(shop.owner)(app.test_client())
    operator.sign_in("operator")
    page = operator.get("/operator/codes").text
    assert "已用 2 / 99,000" in page
    assert "另留 1,000 应急" in page
    assert "十年也用不完" in page
    put(shop.runtime, shop.code.id, created_at=shop.street.now)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(ScenePool).values(capacity=5))
    page = operator.get("/operator/codes").text
    assert "还剩 3" in page
    assert "够用到" in page


def test_what_ends_soon_is_pointed_out(shop: Shop) -> None:
    code_id = temporary(shop, "传单", shop.street.now)
    for days, words in ((8, ""), (6.5, "7 天内到期"), (2.5, "3 天内到期"), (0.5, "一天内到期")):
        put(shop.runtime, code_id, expires_at=shop.street.now + timedelta(days=days))
        page = shop.owner.get("/merchant/codes").text
        assert ("个临时码" in page) == bool(words)
        assert words in page
    assert "请不要印刷" in shop.owner.get(f"/merchant/codes/{code_id}").text


def test_a_code_goes_from_one_shop_to_the_other(shops: tuple[Shop, Shop]) -> None:
    wang, xiang = shops
    wang.welcomes_somebody(ago=timedelta(hours=1))
    path = f"/merchant/codes/{wang.code.id}"
    wang.owner.get(path)
    assert wang.owner.post(f"{path}/hand-over", {"merchant": "没有这家"}).status_code == 422
    assert wang.owner.post(f"{path}/hand-over", {"merchant": "阿香花店"}).status_code == 303
    assert "等对方答复" in wang.owner.get("/merchant/handovers").text
    assert "有商户想把 1 个码交给本店" in xiang.owner.get("/merchant/codes").text
    assert "等您答复" in xiang.owner.get("/merchant/handovers").text
    assert wang.owner.post("/merchant/handovers/1/accept").status_code == 404
    assert xiang.owner.post("/merchant/handovers/1/accept").status_code == 303
    drain(wang.runtime, {**handovers.HANDLERS, "create_code": lambda _runtime, _task: None}, outbox.DEFAULT)
    assert wang.owner.get(path).status_code == 404
    assert "老王豆浆 → 阿香花店" in xiang.owner.get(path).text
    assert "从“老王豆浆”接手" in xiang.owner.get("/merchant/codes").text
    assert "已移交" in wang.owner.get("/merchant/handovers").text
    fan = wang.owner.get(f"/merchant/fans/{wang.numbers()[0]}").text
    assert "· 前台</dd>" in fan
    assert path not in fan


def test_the_operator_hands_a_code_over_at_once(
    shops: tuple[Shop, Shop], app: Flask, new_staff: Callable[..., int]
) -> None:
    wang, xiang = shops
    new_staff("operator")
    operator = type(wang.owner)(app.test_client())
    operator.sign_in("operator")
    path = f"/operator/codes/{wang.code.id}"
    operator.get(path)
    assert operator.post(f"{path}/hand-over", {"merchant": "老王豆浆"}).status_code == 422
    assert operator.post(f"{path}/hand-over", {"merchant": str(xiang.merchant_id)}).status_code == 303
    page = operator.get(path).text
    assert page.index("阿香花店") < page.index("老王豆浆")
    assert "原归 老王豆浆" in operator.get("/operator/codes").text
    assert xiang.owner.get(f"/merchant/codes/{wang.code.id}").status_code == 200
