"""Addresses for load balancers and monitoring."""

from __future__ import annotations

from dataclasses import replace

from flask import Flask
from pydantic import SecretStr

from core import outbox
from core.database import Database, Role
from core.runtime import Runtime
from web.app import create_app

TOKEN = "a-token-for-metrics"


def test_healthz_asks_nothing_but_the_process(runtime: Runtime) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:9/none", "x" * 16)
    app = create_app(replace(runtime, database=nowhere, redis_url="redis://127.0.0.1:9"))
    answer = app.test_client().get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_readyz_says_ok_for_each(app: Flask) -> None:
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 200
    assert answer.json == {"status": "ok", "database": "ok", "migrations": "ok", "redis": "ok"}


def test_readyz_names_what_is_missing(runtime: Runtime) -> None:
    app = create_app(replace(runtime, redis_url="redis://127.0.0.1:9"))
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json == {"status": "unavailable", "database": "ok", "migrations": "ok", "redis": "unavailable"}
    nowhere = Database("postgresql://nobody@127.0.0.1:9/none", "x" * 16)
    answer = create_app(replace(runtime, database=nowhere)).test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json is not None
    assert (answer.json["database"], answer.json["redis"]) == ("unavailable", "ok")


def test_metrics_open_only_with_the_token(runtime: Runtime, app: Flask) -> None:
    assert app.test_client().get("/metrics").status_code == 404
    settings = runtime.settings.model_copy(update={"metrics_token": SecretStr(TOKEN)})
    client = create_app(replace(runtime, settings=settings)).test_client()
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 404
    with runtime.transaction(Role.PLATFORM) as session:
        outbox.add(session, kind="test", payload={}, queue="messages", dedupe_key="test:1")
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert 'quanma_http_requests_total{endpoint="health.metrics",method="GET",status="404"}' in answer.text
    assert 'quanma_outbox_rows{queue="messages",state="pending"} 1.0' in answer.text


def test_without_a_database_a_page_says_try_again(runtime: Runtime) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:9/none", "x" * 16)
    app = create_app(replace(runtime, database=nowhere))
    client = app.test_client()
    client.set_cookie("sid", "anything")
    answer = client.get("/auth/account")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "系统正忙" in answer.text
