"""A running sandbox, a developer's server that records what is pushed, and short ways to ask both."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import xmltodict

from sandbox.crypto import MessageCipher

PROJECT = Path(__file__).resolve().parents[2]
APP_ID = "wx0123456789abcdef"
SECRET = "0123456789abcdef0123456789abcdef"
TOKEN = "fanQrToken2024"
AES_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
GH = "gh_0123456789ab"
CIPHER = MessageCipher(aes_key=AES_KEY, app_id=APP_ID)
# Deliveries are given up after 0.3 s instead of 5 s.
QUICK = ("--limit", "push_timeout_ms=300")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Received:
    """One request at the developer's server."""

    query: dict[str, str]
    fields: dict[str, Any]
    at: float

    @property
    def event(self) -> dict[str, Any]:
        """The push in clear, whatever the mode."""
        if "Encrypt" not in self.fields:
            return self.fields
        inner: dict[str, Any] = xmltodict.parse(CIPHER.decrypt(self.fields["Encrypt"]))["xml"]
        return inner


@dataclass
class Receiver:
    """The developer's server; `answer` decides what it says (a number is an HTTP status)."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answer: Callable[[Received], bytes | int] = lambda _: b"success"

    def words(self, text: str) -> Callable[[Received], bytes]:
        """An answer in clear text to whoever wrote."""

        def reply(received: Received) -> bytes:
            return clear_reply(str(received.event["FromUserName"]), text).encode()

        return reply


def clear_reply(openid: str, text: str) -> str:
    return (
        f"<xml><ToUserName><![CDATA[{openid}]]></ToUserName><FromUserName><![CDATA[{GH}]]></FromUserName>"
        f"<CreateTime>1700000000</CreateTime><MsgType><![CDATA[text]]></MsgType>"
        f"<Content><![CDATA[{text}]]></Content></xml>"
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            self._send(200, query["echostr"].encode())

        def do_POST(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received = Received(query, xmltodict.parse(body)["xml"], time.monotonic())
            state.received.append(received)
            answer = state.answer(received)
            self._send(*((answer, b"") if isinstance(answer, int) else (200, answer)))

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/wechat/callback"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


class Box:
    """A sandbox process and the way to talk to it."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.options = options
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = requests.Session()
        self.start()

    def start(self) -> None:
        secrets = {
            "SANDBOX_APP_ID": APP_ID,
            "SANDBOX_APP_SECRET": SECRET,
            "SANDBOX_TOKEN": TOKEN,
            "SANDBOX_AES_KEY": AES_KEY,
            "SANDBOX_ACCOUNT": GH,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--port", str(self.port), "--home", str(self.home), *self.options],
            cwd=PROJECT,
            env=os.environ | secrets,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the sandbox did not start"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(5)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def restart(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.stop(number)
        self.http.close()
        self.http = requests.Session()
        self.start()

    # The platform's API

    def token(self) -> str:
        body = {"grant_type": "client_credential", "appid": APP_ID, "secret": SECRET}
        return str(self.http.post(f"{self.url}/cgi-bin/stable_token", json=body).json()["access_token"])

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get(self.url + path, params={"access_token": self.token(), **query}).json()
        return answer

    def post(self, path: str, body: Any, **query: Any) -> dict[str, Any]:
        text = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        params = {"access_token": self.token(), **query}
        answer: dict[str, Any] = self.http.post(self.url + path, params=params, data=text).json()
        return answer

    def upload(self, path: str, name: str, content: bytes, **query: Any) -> dict[str, Any]:
        params = {"access_token": self.token(), **query}
        answer: dict[str, Any] = self.http.post(self.url + path, params=params, files={"media": (name, content)}).json()
        return answer

    def code(self, scene: str, *, seconds: int | None = None) -> dict[str, Any]:
        name = "QR_LIMIT_STR_SCENE" if seconds is None else "QR_STR_SCENE"
        body: dict[str, Any] = {"action_name": name, "action_info": {"scene": {"scene_str": scene}}}
        if seconds is not None:
            body["expire_seconds"] = seconds
        return self.post("/cgi-bin/qrcode/create", body)

    def send_text(self, openid: str, text: str = "茶好了") -> int:
        body = {"touser": openid, "msgtype": "text", "text": {"content": text}}
        return int(self.post("/cgi-bin/message/custom/send", body)["errcode"])

    # The control API

    def control(self, path: str, body: Any = None, *, method: str = "POST", expect: int = 200) -> Any:
        response = self.http.request(method, f"{self.url}/sandbox{path}", json={} if body is None else body)
        assert response.status_code == expect, response.text
        return response.json()

    def look(self, path: str) -> Any:
        return self.http.get(f"{self.url}/sandbox{path}").json()

    def person(self, **facts: Any) -> str:
        return str(self.control("/people", facts)["openid"])

    def act(self, openid: str, action: str, *, expect: int = 200, **wish: Any) -> Any:
        return self.control(f"/people/{openid}/{action}", wish, expect=expect)

    def chat(self, openid: str) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.look(f"/people/{openid}/chat")["messages"]
        return messages

    def said(self, openid: str) -> list[str]:
        """What the account or the platform wrote to a person."""
        return [message["text"] for message in self.chat(openid) if message["from"] != "person"]

    def fault(self, do: dict[str, Any], *, times: int | None = 1, **match: Any) -> None:
        self.control("/faults", {"rules": [{"match": match, "next": times, "do": do}]})

    def clock(self, **move: float) -> None:
        self.control("/clock", move)

    def log(self, kind: str, after: int = 0) -> list[dict[str, Any]]:
        lines = self.http.get(f"{self.url}/sandbox/log", params={"after": after}).text.splitlines()
        return [line for line in map(json.loads, lines) if line["kind"] == kind]


StartBox = Callable[..., Box]


@pytest.fixture(scope="session")
def shared_box() -> Iterator[Box]:
    home = Path(tempfile.mkdtemp(prefix="sandbox-test-"))
    box = Box(home, *QUICK)
    yield box
    box.stop()
    shutil.rmtree(home)


@pytest.fixture
def box(shared_box: Box) -> Box:
    """An empty platform; the process is shared by all tests."""
    shared_box.control("/reset")
    shared_box.control("/account", {"callback_url": "", "mode": "secure", "ip_whitelist": None, "oauth_domain": ""})
    return shared_box


@pytest.fixture
def start_box(tmp_path: Path) -> Iterator[StartBox]:
    """Start a sandbox of one's own, with options."""
    started: list[Box] = []

    def start(*options: str) -> Box:
        started.append(Box(tmp_path, *options))
        return started[-1]

    yield start
    for box in started:
        box.stop()
