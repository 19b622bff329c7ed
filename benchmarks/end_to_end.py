"""Jobs a second through the whole service, beside the bare client.

A local provider answers every call after 200 ms. Measured in one run, in
turn, several times; the table gives medians and ratios.

    python -m benchmarks.end_to_end [--jobs 1000] [--concurrency 100]
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Annotated

import httpx2
import typer
from aiohttp import web
from openai import AsyncOpenAI, DefaultAioHttpClient
from rich.console import Console
from rich.table import Table

from cli import setup
from cli.private_instance import private_instance
from cli.rest_client import RestClient

_DELAY_SECONDS = 0.2
_BLOCK = 1000
_ANSWER = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": '{"ok": true}'},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 4,
            "total_tokens": 14,
        },
    }
).encode()


async def _serve_provider(port: Synchronized[int]) -> None:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(_DELAY_SECONDS)
        return web.Response(body=_ANSWER, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    port.value = runner.addresses[0][1]
    await asyncio.Event().wait()


def _provider_main(port: Synchronized[int]) -> None:
    asyncio.run(_serve_provider(port))


@contextlib.contextmanager
def _provider() -> Iterator[str]:
    port = multiprocessing.Value("i", 0)
    process = multiprocessing.Process(
        target=_provider_main, args=(port,), daemon=True
    )
    process.start()
    while not port.value:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port.value}/v1"
    finally:
        process.terminate()
        process.join()


async def _bare_client(url: str, jobs: int, concurrency: int) -> None:
    client = AsyncOpenAI(
        api_key="x",
        base_url=url,
        max_retries=0,
        http_client=DefaultAioHttpClient(
            limits=httpx2.Limits(max_connections=concurrency)
        ),
    )
    gate = asyncio.Semaphore(concurrency)

    async def one(number: int) -> None:
        async with gate:
            await client.chat.completions.create(
                model="bench",
                messages=[
                    {"role": "system", "content": "Answer as JSON."},
                    {"role": "user", "content": json.dumps({"n": number})},
                ],
            )

    await asyncio.gather(*(one(number) for number in range(jobs)))
    await client.close()


def _through_metasync(
    api: RestClient, prompt: str, jobs: int
) -> tuple[float, float]:
    """Return the seconds to submit, and to have everything answered."""
    run = str(time.time_ns())
    job = {
        "operation": "bench",
        "workingPrompts": [prompt],
        "model": "bench",
        "clientReference": {"run": run},
    }
    started = time.perf_counter()
    for first in range(0, jobs, _BLOCK):
        numbers = range(first, min(first + _BLOCK, jobs))
        items = [{**job, "requestData": {"n": n}} for n in numbers]
        api.post("/jobs/batch", {"jobs": items})
    submitted = time.perf_counter() - started
    while True:
        counts = api.get("/jobs/summary", **{"clientReference.run": run})
        if counts["PROCESSED"] == jobs:
            return submitted, time.perf_counter() - started
        time.sleep(0.25)


def _timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main(
    jobs: Annotated[int, typer.Option(min=1)] = 1000,
    concurrency: Annotated[int, typer.Option(min=1)] = 100,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure and print a table."""
    bare, whole, submit = [], [], []
    with (
        _provider() as url,
        tempfile.TemporaryDirectory() as directory,
        private_instance(Path(directory), {"BENCH_KEY": "x"}) as (
            admin,
            api,
        ),
    ):
        setup.ensure_model(
            admin,
            setup.ModelOptions(
                "bench", endpoint=url, key_variable="BENCH_KEY"
            ),
        )
        prompt = setup.ensure_prompt(api, "Answer as JSON.")
        setup.ensure_worker(api, concurrency)
        for _ in range(rounds):
            bare.append(
                _timed(
                    lambda: asyncio.run(_bare_client(url, jobs, concurrency))
                )
            )
            submitted, answered = _through_metasync(api, prompt, jobs)
            submit.append(submitted)
            whole.append(answered)
    _print(jobs, concurrency, rounds, bare, whole, submit)


def _print(
    jobs: int,
    concurrency: int,
    rounds: int,
    bare: list[float],
    whole: list[float],
    submit: list[float],
) -> None:
    table = Table(
        title=f"{jobs} jobs, {concurrency} at once, {_DELAY_SECONDS} s an "
        f"answer; median of {rounds}"
    )
    for heading in ("", "jobs/s", "of the bare client"):
        table.add_column(heading, justify="right")
    base = jobs / statistics.median(bare)
    for name, seconds in (
        ("openai client on aiohttp, bare loop", bare),
        ("Metasync, submitted to answered", whole),
        ("Metasync, submitting alone", submit),
    ):
        rate = jobs / statistics.median(seconds)
        table.add_row(name, f"{rate:,.0f}", f"{rate / base:.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
