"""A load generator small enough to share two cores with what it measures: prepared requests over kept connections."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Measured:
    """What a run showed. Latencies in milliseconds."""

    rate: float
    p50: float
    p99: float
    worst: float
    statuses: dict[int, int]

    def __str__(self) -> str:
        answers = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        return (
            f"{self.rate:,.0f}/s  p50 {self.p50:.1f} ms  p99 {self.p99:.1f} ms  worst {self.worst:.0f} ms  ({answers})"
        )


class _Connection(asyncio.Protocol):
    """Sends one prepared request after the other and times each answer."""

    def __init__(self, requests: Sequence[bytes], done: asyncio.Future[None]) -> None:
        self.latencies: list[float] = []
        self.statuses: list[int] = []
        self._requests = iter(requests)
        self._done = done
        self._buffer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            if not self._done.done():
                self._done.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(body) < length:
            return
        self._buffer = b""
        self.latencies.append((time.perf_counter() - self._sent_at) * 1_000)
        self.statuses.append(int(head[9:12]))
        self._next()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError("the server hung up"))


async def _run(host: str, port: int, requests: Sequence[bytes], connections: int) -> Measured:
    loop = asyncio.get_running_loop()
    protocols: list[_Connection] = []
    ends: list[asyncio.Future[None]] = []
    began = time.perf_counter()
    for number in range(connections):
        end: asyncio.Future[None] = loop.create_future()
        _, protocol = await loop.create_connection(partial(_Connection, requests[number::connections], end), host, port)
        protocols.append(protocol)
        ends.append(end)
    await asyncio.gather(*ends)
    took = time.perf_counter() - began
    latencies = sorted(one for protocol in protocols for one in protocol.latencies)
    statuses: dict[int, int] = {}
    for protocol in protocols:
        for status in protocol.statuses:
            statuses[status] = statuses.get(status, 0) + 1
    return Measured(
        rate=len(latencies) / took,
        p50=statistics.median(latencies),
        p99=latencies[int(len(latencies) * 0.99)],
        worst=latencies[-1],
        statuses=statuses,
    )


def run(port: int, requests: Sequence[bytes], *, connections: int = 64) -> Measured:
    """Send all requests to 127.0.0.1 as fast as answers come, over `connections` kept connections."""
    return asyncio.run(_run("127.0.0.1", port, requests, connections))


def post(path: str, body: bytes) -> bytes:
    """A prepared HTTP/1.1 request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
