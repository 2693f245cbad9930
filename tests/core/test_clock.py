"""The one clock: the same for database and processes, moved only against a sandbox, and the sandbox moves along."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from core.clock import SHANGHAI, business_day, month_of, start_of_day
from core.database import Role
from core.runtime import Runtime
from core.settings import WECHAT_API_HOST, Settings
from tests.conftest import PROJECT, Sandbox, environment_of, free_port

DAY = timedelta(days=1)


@pytest.fixture
def runtime(runtime: Runtime) -> Runtime:
    """One whose clock has not been moved."""
    runtime.clock.move(timedelta())
    return runtime


def test_processes_and_database_agree_and_move_together(runtime: Runtime) -> None:
    def database_now() -> datetime:
        with runtime.transaction(Role.PLATFORM) as session:
            now: datetime = session.execute(text("SELECT app_now()")).scalar_one()
        return now

    for offset in (timedelta(0), 31 * DAY):
        runtime.clock.move(offset)
        assert runtime.clock.offset() == offset
        assert abs(runtime.now() - datetime.now(UTC) - offset) < timedelta(seconds=5)
        assert abs(runtime.now() - database_now()) < timedelta(seconds=1)


def test_it_never_runs_backwards_between_two_looks_at_the_database(runtime: Runtime) -> None:
    moments = [runtime.now() for _ in range(1000)]
    assert moments == sorted(moments)


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2026, 5, 3, 15, 59, 59, tzinfo=UTC), date(2026, 5, 3)),
        (datetime(2026, 5, 3, 16, 0, 0, tzinfo=UTC), date(2026, 5, 4)),
    ],
)
def test_days_begin_at_midnight_in_shanghai(moment: datetime, day: date) -> None:
    assert business_day(moment) == day
    assert start_of_day(day) <= moment < start_of_day(day + DAY)


def test_partitions_are_months_of_utc() -> None:
    assert month_of(datetime(2026, 5, 1, 3, tzinfo=SHANGHAI)) == date(2026, 4, 1)


# ---- quanma clock ----------------------------------------------------------------------------------------------------


def quanma(settings: Settings, url: str, *arguments: str) -> tuple[int, str, str]:
    environment = environment_of(settings.model_copy(update={"wechat_api_url": url}))
    done = subprocess.run(
        [sys.executable, "-m", "web.cli", *arguments],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def shown(settings: Settings, url: str, *arguments: str) -> Any:
    code, out, err = quanma(settings, url, "clock", *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_a_month_passes_here_and_in_the_sandbox(runtime: Runtime, sandbox: Sandbox) -> None:
    settings = runtime.settings
    assert shown(settings, sandbox.url)["offset_seconds"] == 0
    moved = shown(settings, sandbox.url, "advance", "31d")
    assert moved["offset_seconds"] == 31 * 86_400
    assert abs(datetime.fromisoformat(moved["now"]) - datetime.now(UTC) - 31 * DAY) < timedelta(seconds=30)
    assert shown(settings, sandbox.url, "advance", "90m")["offset_seconds"] == 31 * 86_400 + 5_400
    assert shown(settings, sandbox.url, "show")["offset_seconds"] == 31 * 86_400 + 5_400
    assert sandbox.get("/sandbox/account")["clock_offset_seconds"] == 31 * 86_400 + 5_400
    sandbox.post("/sandbox/clock", offset_seconds=0)


def test_the_months_ahead_are_there_before_their_first_row(runtime: Runtime, sandbox: Sandbox) -> None:
    now = shown(runtime.settings, sandbox.url, "advance", "400d")["now"]
    sandbox.post("/sandbox/clock", offset_seconds=0)
    months = [(datetime.fromisoformat(now) - days * DAY).strftime("%Y%m") for days in (0, 200, 370)]
    with runtime.transaction(Role.PLATFORM) as session:
        for table in ("inbox_event", "scan"):
            for month in months:
                assert session.execute(text("SELECT to_regclass(:name)"), {"name": f"{table}_p{month}"}).scalar()


def test_a_platform_without_a_clock_keeps_its_own_with_a_warning(runtime: Runtime) -> None:
    code, out, err = quanma(runtime.settings, f"http://127.0.0.1:{free_port()}", "clock", "advance", "2h", "--json")
    assert (code, json.loads(out)["offset_seconds"]) == (0, 7_200)
    assert "没有跟着走" in err


@pytest.mark.parametrize("duration", ["", "31", "d", "-1d", "0d", "1w", "99999d", "2h1d", "99999999d99999999h", "一天"])
def test_what_is_no_duration_is_refused_in_one_sentence(runtime: Runtime, duration: str) -> None:
    from web.commands.clock import parse

    with pytest.raises(Exception, match="31d"):
        parse(duration)


def test_a_duration_may_have_several_units_and_the_time_is_told_as_people_read_it() -> None:
    from web.commands.clock import line, parse

    assert parse("47h30m") == timedelta(hours=47, minutes=30)
    assert parse("1d2h3m4s") == timedelta(days=1, hours=2, minutes=3, seconds=4)
    told = line({"now": "2026-11-23T16:05:09.123456+00:00", "offset_seconds": 171_000})
    assert told == "现在是 2026-11-24 00:05（北京时间），比真实时间快 1 天 23 小时 30 分。"
    assert line({"now": "2026-11-23T16:05:09+00:00", "offset_seconds": 0}).endswith("和真实时间一样。")


def test_the_real_platforms_clock_is_never_moved(runtime: Runtime) -> None:
    code, out, err = quanma(runtime.settings, WECHAT_API_HOST, "clock", "advance", "1d")
    assert (code, out, len(err.strip().splitlines())) == (1, "", 1)
    assert runtime.clock.offset() == timedelta(0)
