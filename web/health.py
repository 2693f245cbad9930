"""Is the process alive, can it serve, and what are the numbers: for load balancers and monitoring, not for people."""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable, Iterable

import structlog
from flask import Blueprint, Flask, Response, abort, g, jsonify, request
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import REGISTRY, Collector
from sqlalchemy import func, select

from core import migrate
from core.bell import connect
from core.database import Role
from core.models import Outbox, OutboxState
from core.runtime import Runtime
from web.auth.access import public
from web.context import current_runtime

log = structlog.get_logger(__name__)
blueprint = Blueprint("health", __name__)

REQUESTS = Counter("quanma_http_requests_total", "Requests answered", ["endpoint", "method", "status"])
SECONDS = Histogram("quanma_http_request_seconds", "Time to answer", ["endpoint"])


def register(app: Flask) -> None:
    """Add the three addresses and measure every request."""
    app.before_request(start_watch)
    app.after_request(stop_watch)
    app.register_blueprint(blueprint)


@blueprint.get("/healthz")
@public
def healthz() -> ResponseReturnValue:
    """This process answers; nothing else is asked."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """Everything a request needs is there: 200, or 503 with what is missing."""
    runtime = current_runtime()
    checks = {"database": database_state, "migrations": migration_state, "redis": redis_state}
    states = {name: _state(name, check, runtime) for name, check in checks.items()}
    is_ready = all(state == "ok" for state in states.values())
    return jsonify(status="ok" if is_ready else "unavailable", **states), 200 if is_ready else 503


@blueprint.get("/metrics")
@public
def metrics() -> ResponseReturnValue:
    """Numbers for Prometheus, for whoever shows the token of METRICS_TOKEN; closed while none is set."""
    token = current_runtime().settings.metrics_token
    shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token is None or not hmac.compare_digest(shown.encode(), token.get_secret_value().encode()):
        abort(404)
    registry: CollectorRegistry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    owed = CollectorRegistry()
    owed.register(OutboxNumbers(current_runtime()))
    return Response(generate_latest(registry) + generate_latest(owed), content_type=CONTENT_TYPE_LATEST)


class OutboxNumbers(Collector):
    """What is owed to the network, read from the rows at the moment of asking."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Rows not done yet by queue and state, and how long the oldest pending one has waited."""
        rows = GaugeMetricFamily("quanma_outbox_rows", "Outbox rows not done", labels=["queue", "state"])
        age = GaugeMetricFamily("quanma_outbox_oldest_seconds", "Wait of the oldest pending row", labels=["queue"])
        waited = func.extract("epoch", func.clock_timestamp() - func.min(Outbox.created_at))
        query = select(Outbox.queue, Outbox.state, func.count(), waited)
        query = query.where(Outbox.state != OutboxState.DONE).group_by(Outbox.queue, Outbox.state)
        with self._runtime.transaction(Role.PLATFORM) as session:
            for queue, state, count, seconds in session.execute(query):
                rows.add_metric([queue, state], count)
                if state == OutboxState.PENDING:
                    age.add_metric([queue], float(seconds))
        return [rows, age]


def _state(name: str, check: Callable[[Runtime], str], runtime: Runtime) -> str:
    try:
        return check(runtime)
    except Exception as error:  # whatever is wrong with a neighbour, the answer is that we are not ready
        log.warning("not ready", check=name, error=type(error).__name__)
        return "unavailable"


def database_state(runtime: Runtime) -> str:
    """The truth answers."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(select(1))
    return "ok"


def migration_state(runtime: Runtime) -> str:
    """The schema is the one this code was written for."""
    with runtime.database.engine(Role.PLATFORM).connect() as connection:
        return "ok" if migrate.current(connection) == migrate.head() else "behind"


def redis_state(runtime: Runtime) -> str:
    """The bell answers."""
    with connect(runtime.redis_url) as client:
        client.ping()
    return "ok"


def start_watch() -> None:
    """Note when the request came."""
    g.started = time.monotonic()


def stop_watch(response: Response) -> Response:
    """Count the request under its endpoint, never under its address: addresses carry ids."""
    endpoint = request.endpoint or "none"
    REQUESTS.labels(endpoint, request.method, response.status_code).inc()
    if "started" in g:
        SECONDS.labels(endpoint).observe(time.monotonic() - g.started)
    return response
