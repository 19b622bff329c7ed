"""Entries on their way to a syslog server, over real sockets."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.services.access.audit.events import Event
from api.services.access.audit.syslog import (
    MOST_WAITING,
    SyslogSender,
    SyslogServer,
    message_of,
)
from api.services.monitoring.observer import Observer
from tests.support.waiting import eventually_so

HEAD = re.compile(
    rb"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) \S+ metasync \d+ "
    rb"audit - (\{.*\})"
)


def event(number: int = 1, **fields: Any) -> Event:
    return Event(
        **{
            "id": f"{number:024x}",
            "at": 1_764_000_000_123,
            "until": 1_764_000_000_123,
            "actor": "admin",
            "name": "näme\nline",
            "by": None,
            "address": "192.0.2.1",
            "action": "POST /clients",
            "path": "/clients",
            "target": f"t{number}",
            "status": 201,
            "outcome": "done",
            **fields,
        }
    )


class Counts(Observer):
    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def audited(self, outcome: str, count: int) -> None:
        self.found[outcome] = self.found.get(outcome, 0) + count


@asynccontextmanager
async def running(sender: SyslogSender) -> AsyncIterator[None]:
    task = asyncio.create_task(sender.run())
    try:
        yield
    finally:
        sender.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("outcome", "priority"), [("done", 110), ("refused", 108), ("failed", 107)]
)
def test_a_message_is_one_line(outcome: str, priority: int) -> None:
    message = message_of(event(outcome=outcome))
    matched = HEAD.fullmatch(message)
    assert matched is not None, message
    assert int(matched[1]) == priority
    assert matched[2] == b"2025-11-24T16:00:00.123Z"
    assert json.loads(matched[3])["name"] == "näme\nline"
    assert b"\n" not in message


async def test_over_udp_long_ones_lose_their_changes() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        url = f"udp://127.0.0.1:{server.getsockname()[1]}"
        sender = SyslogSender(SyslogServer.of_url(url))
        sender.take([event(1), event(2, changes=({"x": "y" * 20_000},))])
        async with running(sender):
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(10):
                first = await loop.sock_recv(server, 70_000)
                second = await loop.sock_recv(server, 70_000)
    assert HEAD.fullmatch(first)
    matched = HEAD.fullmatch(second)
    assert matched is not None
    assert json.loads(matched[3])["changes"] == []


async def test_over_tcp_it_waits_for_the_server() -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while length := await reader.readuntil(b" "):
            await got.put(await reader.readexactly(int(length)))
        writer.close()

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    counts = Counts()
    url = f"tcp://127.0.0.1:{port}"
    sender = SyslogSender(SyslogServer.of_url(url), counts)
    async with running(sender):
        sender.take([event(1)])
        await eventually_so(lambda: sender.problem is not None)
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        async with server, asyncio.timeout(20):
            assert HEAD.fullmatch(await got.get())
            sender.take([event(number) for number in range(250)])
            for number in range(250):
                matched = HEAD.fullmatch(await got.get())
                assert matched is not None
                assert json.loads(matched[3])["target"] == f"t{number}"
        assert sender.problem is None
    assert counts.found["sent"] >= 250


def test_what_does_not_fit_is_counted() -> None:
    counts = Counts()
    sender = SyslogSender(SyslogServer.of_url("udp://127.0.0.1"), counts)
    sender.take([event(number) for number in range(MOST_WAITING + 3)])
    assert counts.found == {"notSent": 3}
    assert len(sender._waiting) == MOST_WAITING
    assert sender._waiting[0].target == "t3"
