"""What `client.map` holds of an iterator: what is in flight, no more."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from metasync import Metasync
from tests.support.served import served

IN_FLIGHT = 100
ROW_BYTES = 5_000


@pytest.fixture
def url() -> Iterator[str]:
    """A service that has all the answers at once, and keeps nothing."""

    async def create(request: web.Request) -> web.Response:
        items = (await request.json())["jobs"]
        jobs = [
            {
                "jobId": item["idempotencyKey"],
                "status": "PROCESSED",
                "responseData": {"text": "yes"},
            }
            for item in items
        ]
        return web.json_response(jobs, status=201)

    async def models(_request: web.Request) -> web.Response:
        return web.json_response([{"model_id": "1", "name": "m", "sdk": "s"}])

    async def workers(_request: web.Request) -> web.Response:
        worker = {"workerId": "1", "name": "w", "clientId": "c"}
        state = {"status": "running", "config": {}}
        return web.json_response([{**worker, **state}])

    async def prompts(_request: web.Request) -> web.Response:
        prompt = {"promptId": "1", "name": "p", "version": 1, "type": "t"}
        state = {"status": "PUBLISHED", "prompt": "{{ text }}"}
        return web.json_response([{**prompt, **state}])

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/jobs/batch", create)
    app.router.add_get("/models", models)
    app.router.add_get("/workers", workers)
    app.router.add_get("/prompts", prompts)
    with served(app) as url:
        yield url


def peak(url: str, count: int, *, as_list: bool = False) -> int:
    """Return the most bytes that a call of `map` has held."""
    rows: Any = (f"{n:{ROW_BYTES}}" for n in range(count))
    with Metasync(url, "a:b") as client:
        tracemalloc.start()
        given = list(rows) if as_list else rows
        results = client.map(
            "{{ text }}", given, model="m", in_flight=IN_FLIGHT
        )
        assert sum(result.value == "yes" for result in results) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


@pytest.mark.timing
def test_ten_times_the_rows_need_no_more_memory(url: str) -> None:
    peak(url, IN_FLIGHT)
    few, many = peak(url, 400), peak(url, 4000)
    assert many < 1.5 * few
    # Control: what is kept, because a list has it anyway, is seen.
    assert peak(url, 4000, as_list=True) > 3 * few
