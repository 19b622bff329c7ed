"""Many who watch: how soon they are told, across processes as well."""

import asyncio
import contextlib
import time
from pathlib import Path

import httpx2
import pytest

from api.services.live.live_event import LiveEvent
from tests.integration.test_events import HYPHENATED, listening
from tests.support.api_user import ApiUser
from tests.support.live_server import LiveServer, live_server, make_settings
from tests.support.timing import is_within

WATCHERS = 1_000
SECONDS = 0.1


Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def open_watcher(server: LiveServer) -> Opened:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    keys = "".join(f"{k}: {v}\r\n" for k, v in HYPHENATED.items())
    writer.write(
        f"GET /events?topics=model HTTP/1.1\r\nHost: x\r\n{keys}\r\n".encode()
    )
    await reader.readuntil(b"retry: ")
    return reader, writer


async def told_after(
    server: LiveServer, opened: list[Opened], number: int
) -> float:
    """Publish an event; return after how many seconds the last has it."""
    hub = server.application.services.hub
    mark = f"event {number}"
    event = LiveEvent.of("model.changed", number, {"name": mark}, key=mark)
    # The server is in another thread, with its own loop.
    loop = hub_loop(server)
    began = time.perf_counter()
    loop.call_soon_threadsafe(hub.publish, [event])
    await asyncio.gather(
        *(reader.readuntil(mark.encode()) for reader, _ in opened)
    )
    return time.perf_counter() - began


def hub_loop(server: LiveServer) -> asyncio.AbstractEventLoop:
    hub = server.application.services.hub
    # `on_join` wakes the gatherer, which belongs to that loop.
    loop = hub.on_join.__self__._event_loop  # type: ignore[attr-defined] # a method of it
    assert isinstance(loop, asyncio.AbstractEventLoop)
    return loop


@pytest.mark.timing
@pytest.mark.long
def test_a_thousand_are_told_within_a_tenth_of_a_second(
    database: str, tmp_path: Path
) -> None:
    settings = make_settings(
        tmp_path / "many", max_watchers_per_user=WATCHERS + 10
    )
    with live_server(settings, database, {}, run_workers=False) as server:
        numbers = iter(range(1, 100))

        async def measure_all() -> bool:
            opened = [await open_watcher(server) for _ in range(WATCHERS)]
            assert len(server.application.services.hub) == WATCHERS

            async def measure() -> float:
                return await told_after(server, opened, next(numbers))

            await measure()
            results = [await measure() for _ in range(4)]
            return is_within(SECONDS, iter(results).__next__)

        assert asyncio.run(measure_all())


def test_another_process_is_told_of_jobs(
    database: str, tmp_path: Path
) -> None:
    """One process runs the jobs; who watches is connected to the other."""
    settings = make_settings(tmp_path / "one")
    other = settings.model_copy(update={"data_dir": tmp_path / "two"})
    with (
        live_server(settings, database, {}) as works,
        live_server(other, database, {}, run_workers=False) as shows,
        httpx2.Client(base_url=works.url) as http,
    ):
        user = ApiUser(http)
        model, prompt = user.model(), user.prompt()
        user.worker()
        with listening(shows, user.headers, topics="job") as listener:
            deadline = time.monotonic() + 20
            # The other process learns within two seconds that somebody does.
            while not listener.events and time.monotonic() < deadline:
                job = user.job(model, prompt)
                user.ended(job["jobId"])
                with contextlib.suppress(AssertionError):
                    listener.waits_for("job.processed", jobId=job["jobId"])
            assert listener.events
