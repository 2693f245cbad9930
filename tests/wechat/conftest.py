"""A scripted platform on a local port, for what no well-behaved neighbour would answer."""

import json
import secrets
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from core.database import Database
from core.runtime import Runtime
from wechat.client import WeChatClient
from wechat.oauth import OAuth
from wechat.tokens import TokenEndpoint, TokenStore
from wechat.transport import Transport

CANARY = "canary-secret-7d1f"


@dataclass(frozen=True)
class Request:
    """One call as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    connection: int
    """The caller's port: two calls over one connection have the same."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What goes back; `claims` overstates the length, so that the reply ends too early."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0
    claims: int | None = None


class LostReply:
    """The call is taken and the connection closed without a word."""


Script = Answer | LostReply | Callable[[Request], Any] | dict[str, Any]


class FakePlatform:
    """Answers `/cgi-bin/stable_token` like the platform, and everything else as told."""

    def __init__(self) -> None:
        self.app_secret = CANARY
        self.requests: list[Request] = []
        self.lifetime = 7200
        self.token_delay = 0.0
        self._scripts: dict[str, deque[Script]] = defaultdict(deque)
        self._always: dict[str, Script] = {}
        self._tokens = 0
        self._lock = Lock()
        self._done = Event()
        platform = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                platform._serve(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that gave up is what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def next(self, path: str, *answers: Script) -> None:
        """Answer the next calls of a path this way, in this order."""
        self._scripts[path].extend(answers)

    def always(self, path: str, answer: Script) -> None:
        """Answer a path this way from now on."""
        self._always[path] = answer

    def calls(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    @property
    def token(self) -> str:
        return f"{CANARY}-token-{self._tokens}"

    def revoke(self) -> None:
        """Make the current token worthless; asking for one gives a new one."""
        self._tokens += 1

    def close(self) -> None:
        self._done.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        request = Request(
            handler.command,
            url.path,
            {name: values[0] for name, values in parse_qs(url.query).items()},
            dict(handler.headers.items()),
            handler.rfile.read(int(handler.headers.get("Content-Length") or 0)),
            handler.client_address[1],
        )
        with self._lock:
            self.requests.append(request)
            scripts = self._scripts[url.path]
            script = scripts.popleft() if scripts else self._always.get(url.path, self._default)
        answer = script(request) if callable(script) else script
        if isinstance(answer, LostReply):
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        if isinstance(answer, dict):
            answer = Answer(json.dumps(answer, ensure_ascii=False).encode())
        self._done.wait(answer.after)
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body) if answer.claims is None else answer.claims))
        handler.end_headers()
        handler.wfile.write(answer.body)
        if answer.claims is not None:
            handler.close_connection = True

    def _default(self, request: Request) -> dict[str, Any]:
        if request.path == "/cgi-bin/stable_token":
            return self._stable_token(request)
        if request.path.startswith("/cgi-bin/") and request.query.get("access_token") != self.token:
            return {"errcode": 40001, "errmsg": f"invalid credential {request.query.get('access_token')} rid: 1-2-3"}
        return {"errcode": 0, "errmsg": "ok"}

    def _stable_token(self, request: Request) -> dict[str, Any]:
        if request.json["secret"] != self.app_secret:
            return {"errcode": 40125, "errmsg": f"invalid appsecret {request.json['secret']} rid: 4-5-6"}
        time.sleep(self.token_delay)
        with self._lock:
            if request.json.get("force_refresh") or self._tokens == 0:
                self._tokens += 1
            return {"access_token": self.token, "expires_in": self.lifetime}


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    fake = FakePlatform()
    yield fake
    fake.close()


@pytest.fixture
def transport(platform: FakePlatform) -> Transport:
    return Transport(api_url=platform.url, mp_url=platform.url)


@pytest.fixture
def app_id() -> str:
    """An account of its own for each test, so that none finds another's token."""
    return f"wx{secrets.token_hex(8)}"


@pytest.fixture
def database(shared_runtime: Runtime) -> Database:
    """Not emptied after each test, which takes longer than most of them: no two tests here share an account."""
    return shared_runtime.database


@pytest.fixture
def new_store(database: Database, platform: FakePlatform, app_id: str) -> Callable[[], TokenStore]:
    """Makes token stores as separate processes would: nothing in memory, the database in common."""

    def make() -> TokenStore:
        transport = Transport(api_url=platform.url, mp_url=platform.url)
        endpoint = TokenEndpoint(transport, app_id=app_id, app_secret=SecretStr(CANARY))
        return TokenStore(database, endpoint, app_id=app_id)

    return make


@pytest.fixture
def client(transport: Transport, new_store: Callable[[], TokenStore], app_id: str) -> WeChatClient:
    return WeChatClient(app_id=app_id, transport=transport, tokens=new_store())


@pytest.fixture
def oauth(transport: Transport, platform: FakePlatform, app_id: str) -> OAuth:
    return OAuth(app_id=app_id, app_secret=SecretStr(CANARY), open_url=platform.url, transport=transport)
