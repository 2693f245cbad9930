"""What is stored about an owner: told, exported, and gone when they say so (FA-4)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import text

from bot.inbox import Inbox
from core.database import Role
from core.runtime import Runtime
from tests.community import Neighbourhood, new_openid, scanned, subscribed, wrote
from tests.web.owner.conftest import Phone

CANARY = "金丝雀7413"


@pytest.fixture
def ann(runtime: Runtime, street: Neighbourhood, owner_phone: Callable[[], Phone]) -> Phone:
    """Somebody with a past: followed by a shop's code, chatted, was noted down, told a birthday."""
    phone = owner_phone()
    shop = street.merchant("老王豆浆")
    code, inbox = street.code(shop), Inbox(runtime)
    inbox.receive([subscribed(phone.openid, street.now - timedelta(hours=2), code.scene)])
    inbox.receive([wrote(phone.openid, street.now - timedelta(hours=1), f"我是{CANARY}")])
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE fan SET note = :note WHERE follower_id = :id"), {"note": CANARY, "id": phone.follower_id}
        )
        session.execute(
            text("INSERT INTO fan_tag (merchant_id, follower_id, tag) SELECT merchant_id, follower_id, :tag FROM fan"),
            {"tag": CANARY},
        )
    phone.browser.get("/m/settings")
    assert phone.browser.post("/m/settings/birthday", {"month": "7", "day": "4"}).status_code == 303
    return phone


def export(phone: Phone) -> dict[str, Any]:
    answer = phone.browser.get("/m/privacy/export")
    assert answer.status_code == 200
    assert "attachment" in answer.headers["Content-Disposition"]
    exported: dict[str, Any] = json.loads(answer.text)
    return exported


def test_the_export_is_everything_of_ones_own(ann: Phone) -> None:
    told = export(ann)
    assert told["me"][0]["openid"] == ann.openid
    assert told["birthday"][0]["birth_month"] == 7
    assert told["follows"][0]["source"] == "event"
    assert (told["scans"][0]["shop"], told["shops"][0]["note"]) == ("老王豆浆", CANARY)
    assert told["shops_tags"] == [{"shop": "老王豆浆", "tag": CANARY}]
    assert CANARY in json.dumps(told["chat"], ensure_ascii=False)


def test_the_export_has_nothing_of_anybody_else(
    runtime: Runtime, street: Neighbourhood, ann: Phone, owner_phone: Callable[[], Phone]
) -> None:
    ben = owner_phone()
    Inbox(runtime).receive([scanned(ben.openid, street.now, None)])
    mine, theirs = json.dumps(export(ann), ensure_ascii=False), json.dumps(export(ben), ensure_ascii=False)
    assert ben.openid not in mine
    assert CANARY not in theirs
    assert ann.openid not in theirs
    assert "老王豆浆" not in theirs


def everything(runtime: Runtime) -> str:
    """Every value of every column of every table, every Redis key with its value."""
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=30) as session:
        tables = session.scalars(
            text("""
                SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition""")
        ).all()
        found = [
            str(row[0])
            for name in tables
            for row in session.execute(text(f"SELECT to_jsonb(t)::text FROM {name} t"))  # noqa: S608
        ]
    store = redis.Redis.from_url(runtime.redis_url)
    for key in store.scan_iter():
        found += [repr(key), repr(store.dump(key))]
    return "\n".join(found)


def test_after_the_deletion_nothing_tells_who_it_was(
    runtime: Runtime, ann: Phone, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """FA-4: tables, Redis, files of the installation and what was logged; the scan finds it all before."""
    before = everything(runtime)
    for canary in (ann.openid, CANARY):
        assert canary in before
    ann.browser.get("/m/privacy")
    gone = ann.browser.post("/m/privacy/delete", {"agreed": " 删除 "})
    assert (gone.status_code, "已经删除" in gone.text) == (200, True)
    after = everything(runtime)
    logged = caplog.text + "".join(capfd.readouterr())
    files = "".join(
        path.read_text("utf-8", "replace") for path in Path(runtime.settings.quanma_home).rglob("*") if path.is_file()
    )
    for canary in (ann.openid, CANARY):
        for place in (after, logged, files, gone.text):
            assert canary not in place
    with runtime.transaction(Role.PLATFORM) as session:
        log = session.execute(text("SELECT follower_id, reason FROM erasure_log")).one()
        assert tuple(log) == (ann.follower_id, "request")
        assert session.scalars(text("SELECT count(*) FROM owner_profile")).one() == 0


def test_whoever_has_deleted_everything_is_signed_out_everywhere(
    runtime: Runtime, ann: Phone, owner_phone: Callable[..., Phone]
) -> None:
    other = owner_phone(ann.openid)
    other.browser.get("/m/privacy")
    other.browser.post("/m/privacy/delete", {"agreed": "删除"})
    assert ann.browser.get("/m/privacy").status_code == 302
    assert other.browser.get("/m/privacy").status_code == 302


@pytest.mark.parametrize("words", ["", "删", "delete", "删除 全部"])
def test_nothing_is_deleted_by_mistake(runtime: Runtime, ann: Phone, words: str) -> None:
    ann.browser.get("/m/privacy")
    refused = ann.browser.post("/m/privacy/delete", {"agreed": words})
    assert refused.status_code == 422
    assert "请在框里写" in refused.text
    assert export(ann)["me"][0]["openid"] == ann.openid


def test_who_comes_back_after_the_deletion_begins_anew(ann: Phone, owner_phone: Callable[..., Phone]) -> None:
    ann.browser.get("/m/privacy")
    ann.browser.post("/m/privacy/delete", {"agreed": "删除"})
    again = owner_phone(ann.openid)
    told = export(again)
    assert told["birthday"] == []
    assert told["shops"][0]["note"] == ""
    assert CANARY not in json.dumps(told, ensure_ascii=False)


def test_one_may_not_export_without_end(ann: Phone) -> None:
    answers = [ann.browser.get("/m/privacy/export").status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]


def test_a_deletion_asked_for_here_is_one_whichever_way_openid_was_met(
    runtime: Runtime, owner_phone: Callable[..., Phone]
) -> None:
    """Somebody who never followed."""
    phone = owner_phone(new_openid())
    phone.browser.get("/m/privacy")
    assert phone.browser.post("/m/privacy/delete", {"agreed": "删除"}).status_code == 200
    assert phone.openid not in everything(runtime)
