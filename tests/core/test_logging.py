"""AU-6: canary secrets and people appear in no log line, whoever logs them and however."""

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from core import logging as our_logging
from core.logging import Scrubber, bind_request, configure, mask_openid, new_request_id
from core.settings import Settings, read_settings

OPENID = "oAbCdEfGhIjKlMnOpQrStUvWx_-1"
PHONE = "13912345678"
SECRET = "canary-app-secret-0123456789abcdef"
AES_KEY = "canaryAesKey0123456789abcdefghijklmnopqrsAA"
TOKEN = "76_canaryAccessToken-fromTheNetwork"
SAID = "我想退货，电话在这里"
CANARIES = (OPENID, PHONE, SECRET, AES_KEY, TOKEN, SAID, "canarytoken", "canary-secret-key-000")


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return read_settings(
        _env_file=None,
        quanma_home=tmp_path_factory.mktemp("home"),
        secret_key="canary-secret-key-000",
        database_url="postgresql://owner:canary%2Fpass%2Fword@db/q",
        wechat_app_id="wx0123456789abcdef",
        wechat_app_secret=SECRET,
        wechat_token="canarytoken",
        wechat_aes_key=AES_KEY,
        wechat_account="gh_0123456789ab",
    )


@pytest.fixture
def stream(settings: Settings) -> Iterator[io.StringIO]:
    """What a process would write, with logging set back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, structlog.get_config())
    target = io.StringIO()
    configure(settings, stream=target)
    yield target
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = before[:4]
    structlog.configure(**before[4])
    logging.captureWarnings(False)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_logger_and_the_request(stream: io.StringIO) -> None:
    bind_request("0123456789abcdef", staff_id=7)
    structlog.get_logger("qrcodes.codes").info("code made", code_id=5)
    structlog.contextvars.clear_contextvars()
    (line,) = lines(stream)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "code made",
        "level": "info",
        "logger": "qrcodes.codes",
        "code_id": 5,
        "request_id": "0123456789abcdef",
        "staff_id": 7,
    }


def test_canaries_appear_in_no_line(stream: io.StringIO) -> None:
    our_logging.scrubber.learn(TOKEN)
    log = structlog.get_logger("canary")
    url = f"https://api.example/cgi-bin/x?access_token={TOKEN}&secret={SECRET}&signature=0badf00d&openid={OPENID}"
    log.info("called", url=url, openid=OPENID, phone=PHONE, text=SAID, content=SAID, body={"Content": SAID})
    log.info(f"said by {OPENID} at {PHONE} with {SECRET} and {AES_KEY} and {TOKEN}")
    log.info("sent", headers={"Authorization": f"Bearer {TOKEN}", "Cookie": "session=canarytoken"})
    log.info("nested", detail=[{"user": {"openid": OPENID, "note": SAID}}, (PHONE, SECRET)])
    library = logging.getLogger("rq.worker")
    library.warning("job %s failed for %s, Cookie: session=canarytoken; other=1", {"token": TOKEN}, OPENID)
    library.error('{"access_token": "76_not-known-before", "expires_in": 7200}')
    library.error(f"job failed\nTraceback (most recent call last):\n  File x\nValueError: {SAID}")
    logging.getLogger("urllib3.connectionpool").debug("GET %s", url)
    for error in (RuntimeError(SAID, SECRET, PHONE), KeyError(OPENID), ConnectionError(f"no route to {url}")):
        try:
            try:
                raise error
            except Exception as inner:
                raise ValueError(SAID + TOKEN) from inner
        except ValueError:
            log.exception("task failed")
            library.exception("work-horse failed")
    written = stream.getvalue()
    assert [canary for canary in CANARIES if canary in written] == []
    assert "0badf00d" not in written
    assert "76_not-known-before" not in written
    assert mask_openid(OPENID) == "oA…x_-1"
    assert mask_openid(OPENID) in written


def test_a_database_error_tells_its_kind_and_not_its_row(stream: io.StringIO) -> None:
    log = structlog.get_logger("canary")
    try:
        with create_engine("postgresql+psycopg://nobody:canary-password@/none?host=/nowhere").connect() as connection:
            connection.execute(text("SELECT :said"), {"said": SAID})
    except SQLAlchemyError:
        log.exception("no database")
    log.error("refused", error=f"(psycopg.errors.UniqueViolation)\nDETAIL:  Key (phone)=(x {SAID}) exists.")
    log.error("refused", error=f"[SQL: INSERT …]\n[parameters: {{'text': '{SAID}'}}]")
    assert SAID not in stream.getvalue()
    assert "canary-password" not in stream.getvalue()
    assert "sqlalchemy.exc.OperationalError" in lines(stream)[0]["exception"]


def test_an_uncaught_error_goes_the_same_way(stream: io.StringIO) -> None:
    def crash() -> None:
        raise RuntimeError(SAID)

    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    (line,) = lines(stream)
    assert line["level"] == "critical"
    assert line["exception"].endswith("RuntimeError")
    assert SAID not in stream.getvalue()


def test_nobody_writes_a_second_line_with_line_breaks(stream: io.StringIO) -> None:
    structlog.get_logger("canary").info('name\r\n{"event": "forged"}\u2028', label="a\nb\x1b[31m")
    assert len(stream.getvalue().splitlines()) == 1
    (line,) = lines(stream)
    assert line["label"] == "a\\nb\\x1b[31m"
    assert line["event"] == 'name\\r\\n{"event": "forged"}\\u2028'


def test_a_terminal_gets_readable_lines_and_no_canary(settings: Settings, stream: io.StringIO) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    configure(settings, stream=terminal)
    try:
        raise RuntimeError(SAID)
    except RuntimeError:
        structlog.get_logger("canary").exception("task failed", openid=OPENID, note=SAID)
    assert "task failed" in terminal.getvalue()
    assert "RuntimeError" in terminal.getvalue()
    assert [canary for canary in CANARIES if canary in terminal.getvalue()] == []


@pytest.mark.parametrize(
    "harmless",
    [
        "official_account_was_changed",
        "outbox row 1234567890123456 done in 12 ms",
        "GET /operator/traffic?since=2026-11-01 200",
        "scene AbCd_-0123456789AbCd retired",
        "2026-11-22T10:20:30.123456Z",
    ],
)
def test_ordinary_words_stay_as_they_are(harmless: str) -> None:
    assert Scrubber().text(harmless) == harmless


def test_short_secrets_do_not_black_out_words() -> None:
    assert Scrubber(frozenset({"tok", "longer-secret"})).text("token tok longer-secret") == "token tok ***"


def test_request_ids_of_a_proxy_are_kept_if_decent() -> None:
    assert new_request_id("abcdef-12345678") == "abcdef-12345678"
    assert len(new_request_id("x\r\ny")) == 16
    assert new_request_id() != new_request_id()
