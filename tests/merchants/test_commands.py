"""`quanma merchant`, `operator` and `code`, as they are typed."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from sqlalchemy import select

from core.database import Role
from core.runtime import Runtime
from core.settings import Settings
from qrcodes.models import CodeState, SubQrCode
from tests.conftest import PROJECT, Sandbox, environment_of, free_port


class Shell:
    """Runs `quanma` against a platform."""

    def __init__(self, settings: Settings, platform_url: str) -> None:
        hosts = {f"wechat_{host}_url": platform_url for host in ("api", "mp", "open")}
        self.environment = environment_of(settings.model_copy(update=hosts))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "web.cli", *arguments],
            env=self.environment,
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def json(self, *arguments: str) -> Any:
        code, out, err = self.run(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    def refusal(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments, "--json")
        assert code != 0
        assert out == ""
        assert len(err.strip().splitlines()) == 1
        return err.strip()


@pytest.fixture
def shell(runtime: Runtime, sandbox: Sandbox) -> Shell:
    return Shell(runtime.settings, sandbox.url)


def test_from_an_empty_house_to_a_code_in_hand(shell: Shell, runtime: Runtime) -> None:
    merchant = shell.json("merchant", "add", "花店", "--phone", "13800001111", "--community", "翠园")
    assert merchant.keys() >= {"id", "name"}
    assert isinstance(merchant["id"], str)
    assert shell.json("merchant", "list")["merchants"][0]["community"] == "翠园"

    code = shell.json("code", "add", merchant["id"], "--label", "收银台")
    assert code.keys() >= {"id", "merchant", "label", "scene", "ticket", "url", "permanent", "expires_at"}
    assert (code["merchant"], code["label"], code["permanent"], code["expires_at"]) == (
        merchant["id"],
        "收银台",
        True,
        None,
    )
    assert code["ticket"]
    assert code["url"].startswith("http")
    assert shell.json("code", "add", "花店", "--label", "收银台") == code
    temporary = shell.json("code", "add", merchant["id"], "--label", "活动", "--temporary", "7")
    assert (temporary["permanent"], temporary["expires_at"][:2]) == (False, "20")
    adopted = shell.json("code", "adopt", "old-7", merchant["id"])
    assert (adopted["scene"], adopted["ticket"]) == ("old-7", None)
    listed = shell.json("code", "list", merchant["id"])
    assert [one["id"] for one in listed["codes"]] == [adopted["id"], temporary["id"], code["id"]]

    for invite in (("operator", "invite", "小王"), ("merchant", "invite", merchant["id"], "小李")):
        assert shell.json(*invite)["url"].startswith(runtime.settings.public_url)


def test_refusals_are_one_sentence(shell: Shell) -> None:
    shell.json("merchant", "add", "花店")
    assert "同名" in shell.refusal("merchant", "add", "花店")
    assert "没有这个商户" in shell.refusal("code", "list", "99")
    assert "1 到 30 天" in shell.refusal("code", "add", "花店", "--label", "活动", "--temporary", "31")


def test_code_without_a_platform_stays_planned_and_the_same_command_resumes_it(shell: Shell, runtime: Runtime) -> None:
    shell.json("merchant", "add", "花店")
    cut_off = Shell(runtime.settings, f"http://127.0.0.1:{free_port()}")
    assert "再执行一次" in cut_off.refusal("code", "add", "花店", "--label", "收银台")
    [planned] = shell.json("code", "list", "花店")["codes"]
    assert (planned["state"], planned["ticket"]) == ("planned", None)
    resumed = shell.json("code", "add", "花店", "--label", "收银台")
    assert (resumed["id"], resumed["scene"]) == (planned["id"], planned["scene"])
    assert resumed["ticket"]


def test_kill_between_the_row_and_the_answer_leaves_one_scene(shell: Shell, runtime: Runtime, sandbox: Sandbox) -> None:
    shell.json("merchant", "add", "花店")
    slow = {"match": {"path": "/cgi-bin/qrcode/create"}, "next": 1, "do": {"latency_ms": 8000}}
    sandbox.post("/sandbox/faults", rules=[slow])
    process = shell.start("code", "add", "花店", "--label", "收银台")
    deadline = time.monotonic() + 30
    while sandbox.get("/sandbox/faults")["rules"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    with runtime.transaction(Role.PLATFORM) as session:
        before = session.scalars(select(SubQrCode)).one()
    assert (before.state, before.ticket) == (CodeState.PLANNED, None)
    resumed = shell.json("code", "add", "花店", "--label", "收银台")
    assert resumed["scene"] == before.scene
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.scalars(select(SubQrCode.scene)).all() == [before.scene]
