"""A platform that answers every call after 50 ms and counts them: `python -m benchmarks.standin PORT [MILLISECONDS]`.

Smaller than the sandbox, which parses, checks and logs each call for half a millisecond of processor time: at a
thousand calls a second it would take half a core from what is measured. `GET /seen` tells how many calls were
answered, at which moment of its own clock, and how often whoever was written to most often; `GET /forget` begins anew.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from typing import ClassVar

TOKEN = b'{"access_token": "benchmark-token", "expires_in": 7200}'
DONE = b'{"errcode": 0, "errmsg": "ok"}'
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TO = re.compile(rb'"touser": ?"([^"]+)"')


class Platform(asyncio.Protocol):
    """One kept connection."""

    seen: ClassVar[Counter[bytes]] = Counter()
    answered = 0
    delay_s = 0.05

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        if not separator or len(body) < length:
            return
        self._buffer = b""
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/cgi-bin/message/custom/send"):
            asyncio.get_running_loop().call_later(self.delay_s, self._accept, body)
        elif path == b"/seen":
            most = max(Platform.seen.values(), default=0)
            told = {"calls": Platform.answered, "at": time.monotonic(), "most": most}
            self._answer(json.dumps(told).encode())
        elif path == b"/forget":
            Platform.seen, Platform.answered = Counter(), 0
            self._answer(DONE)
        else:
            self._answer(TOKEN)

    def _accept(self, body: bytes) -> None:
        to = _TO.search(body)
        assert to is not None, body
        Platform.seen[to[1]] += 1
        Platform.answered += 1
        self._answer(DONE)

    def _answer(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Platform, "127.0.0.1", port, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        Platform.delay_s = int(sys.argv[2]) / 1_000
    asyncio.run(serve(int(sys.argv[1])))
