"""Calls a second of the provider simulator, on one core.

The simulator is pinned to one core and the load to another. Each
connection sends its next call when it has the last answer. Measured in
turn, several times; the table gives medians.

    python -m benchmarks.simulator [--connections 1000] [--seconds 3]
"""

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, cast
from urllib.parse import urlsplit

import typer
import uvloop
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from provider_simulator.running import (
    Simulator,
    running_simulator,
)

_TEXT = "Is the writer of this review happy? " * 5
_CHAT = {
    "model": "bench",
    "messages": [
        {"role": "system", "content": "Answer as JSON."},
        {"role": "user", "content": _TEXT},
    ],
}


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load."""

    name: str
    path: str
    body: object
    settings: dict[str, object] = field(default_factory=dict)
    end: bytes = b""

    def request(self, host: str) -> bytes:
        """Return the request's bytes."""
        body = to_json(self.body)
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {host}\r\n"
            "Content-Type: application/json\r\nAuthorization: Bearer x\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


_CASES = (
    Case("chat completions", "/v1/chat/completions", _CHAT),
    Case(
        "the same, each after 200 ms",
        "/v1/chat/completions",
        _CHAT,
        {"latency_ms": 200},
    ),
    Case(
        "the same, streamed in 60 pieces",
        "/v1/chat/completions",
        _CHAT | {"stream": True},
        end=b"\r\n0\r\n\r\n",
    ),
    Case(
        "Anthropic messages",
        "/v1/messages",
        _CHAT | {"max_tokens": 1000},
    ),
    Case(
        "Gemini generateContent",
        "/v1beta/models/bench:generateContent",
        {"contents": [{"parts": [{"text": _TEXT}]}]},
    ),
)


class _Caller(asyncio.Protocol):
    """One connection, one call at a time."""

    def __init__(self, case: Case, request: bytes, taken: list[float]) -> None:
        self._end = case.end
        self._request = request
        self._taken = taken
        self._read = b""
        self._sent = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def call(self) -> None:
        """Send a call."""
        self._read = b""
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self._whole():
            if not self._read.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(self._read.decode())
            self._taken.append(time.perf_counter() - self._sent)
            self.call()

    def close(self) -> None:
        """End the connection."""
        self._transport.abort()

    def _whole(self) -> bool:
        if self._end:
            return self._read.endswith(self._end)
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found:
            return False
        length = head.partition(b"content-length: ")[2].partition(b"\r")[0]
        return len(body) >= int(length)


async def _load(
    case: Case, url: str, connections: int, seconds: float
) -> list[float]:
    """Return the seconds that each call took."""
    address = urlsplit(url)
    request = case.request(address.netloc)
    taken: list[float] = []
    loop = asyncio.get_running_loop()
    callers = []
    for _ in range(connections):
        _, caller = await loop.create_connection(
            lambda: _Caller(case, request, taken),
            address.hostname or "",
            address.port or 0,
        )
        callers.append(caller)
    for caller in callers:
        caller.call()
    # The first calls all come at once; they are not what is measured.
    await asyncio.sleep(seconds / 4)
    taken.clear()
    await asyncio.sleep(seconds)
    measured = list(taken)
    for caller in callers:
        caller.close()
    return measured


@contextmanager
def _pinned_simulator() -> Iterator[Simulator]:
    if not hasattr(os, "sched_setaffinity"):
        # Only Linux pins; elsewhere, the cores are the system's choice.
        with running_simulator(process=True) as simulator:
            yield simulator
        return
    cores = sorted(os.sched_getaffinity(0))
    # The child inherits the core that is set when it starts.
    os.sched_setaffinity(0, cores[:1])
    with running_simulator(process=True) as simulator:
        os.sched_setaffinity(0, cores[1:] or cores)
        try:
            yield simulator
        finally:
            os.sched_setaffinity(0, cores)


def main(
    connections: Annotated[int, typer.Option(min=1)] = 1000,
    seconds: Annotated[float, typer.Option(min=0.1)] = 3.0,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure and print a table."""
    results: dict[str, list[list[float]]] = {case.name: [] for case in _CASES}
    with _pinned_simulator() as simulator:
        for _ in range(rounds):
            for case in _CASES:
                simulator.configure(**{"latency_ms": 0, **case.settings})
                taken = uvloop.run(
                    _load(case, simulator.url, connections, seconds)
                )
                results[case.name].append(taken)
    _print(results, connections, seconds)


def _print(
    results: dict[str, list[list[float]]], connections: int, seconds: float
) -> None:
    table = Table(
        title=f"The simulator on one core, {connections} connections, "
        f"{seconds:g} s a case; medians"
    )
    for heading in ("", "calls/s", "median ms", "99 % within ms"):
        table.add_column(heading, justify="right")
    for name, runs in results.items():
        rate = statistics.median(len(run) for run in runs) / seconds
        middle = statistics.median(statistics.median(run) for run in runs)
        most = statistics.median(
            statistics.quantiles(run, n=100)[-1] for run in runs
        )
        table.add_row(
            name, f"{rate:,.0f}", f"{middle * 1e3:.1f}", f"{most * 1e3:.1f}"
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
