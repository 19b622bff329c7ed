"""A loop around a client library, in a process of its own.

`python -m benchmarks.bare_clients NAME URL CALLS CONCURRENCY SECONDS`
makes calls, starts no more after SECONDS, and prints one line of JSON. It
imports nothing of ours: the interpreter may be another environment's.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

Ask = Callable[[list[dict[str, str]]], Awaitable[object]]
Client = Callable[[str, int], AbstractAsyncContextManager[Ask]]
MODEL = "bench"
SYSTEM = "Answer as JSON."


@asynccontextmanager
async def _openai(url: str, concurrency: int, *, on_aiohttp: bool) -> Any:
    import httpx2
    import openai

    limits = httpx2.Limits(max_connections=concurrency)
    http: Any = {}
    if on_aiohttp:
        http = {"http_client": openai.DefaultAioHttpClient(limits=limits)}
    async with openai.AsyncOpenAI(
        api_key="x", base_url=url, max_retries=0, **http
    ) as client:
        yield lambda messages: client.chat.completions.create(
            model=MODEL, messages=messages
        )


def _openai_default(url: str, concurrency: int) -> Any:
    return _openai(url, concurrency, on_aiohttp=False)


def _openai_aiohttp(url: str, concurrency: int) -> Any:
    return _openai(url, concurrency, on_aiohttp=True)


@asynccontextmanager
async def _litellm(url: str, concurrency: int) -> Any:  # noqa: ARG001 - it takes no limit
    import litellm

    litellm.suppress_debug_info = True
    yield lambda messages: litellm.acompletion(
        model=f"openai/{MODEL}",
        messages=messages,
        api_base=url,
        api_key="x",
        max_retries=0,
    )


@asynccontextmanager
async def _aiohttp(url: str, concurrency: int) -> Any:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(messages: list[dict[str, str]]) -> object:
            async with session.post(
                f"{url}/chat/completions",
                json={"model": MODEL, "messages": messages},
                headers={"Authorization": "Bearer x"},
            ) as response:
                response.raise_for_status()
                return await response.json()

        yield ask


CLIENTS: dict[str, Client] = {
    "openai": _openai_default,
    "openai-aiohttp": _openai_aiohttp,
    "litellm": _litellm,
    "aiohttp": _aiohttp,
}


async def _ask_all(
    ask: Ask, numbers: Iterator[int], concurrency: int, seconds: float
) -> tuple[int, int]:
    """Return how many calls were answered, and how many failed."""
    deadline = time.monotonic() + seconds
    done = failed = 0

    async def slot() -> None:
        nonlocal done, failed
        for number in numbers:
            messages = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": json.dumps({"n": number})},
            ]
            try:
                await ask(messages)
                done += 1
            except Exception:  # noqa: BLE001 - any client's; counted
                failed += 1
            if time.monotonic() > deadline:
                return

    await asyncio.gather(*(slot() for _ in range(concurrency)))
    return done, failed


async def _measured(
    name: str, url: str, calls: int, concurrency: int, seconds: float
) -> dict[str, float]:
    async with CLIENTS[name](url, concurrency) as ask:
        await _ask_all(ask, iter(range(1)), 1, seconds)  # imports, threads
        used, started = _cpu_seconds(), time.perf_counter()
        done, failed = await _ask_all(
            ask, iter(range(calls)), concurrency, seconds
        )
        elapsed = time.perf_counter() - started
        used = _cpu_seconds() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes, but for one system that counts bytes.
    megabytes = memory / 1024 ** (2 if sys.platform == "darwin" else 1)
    return {
        "jobs": done,
        "failed": failed,
        "seconds": elapsed,
        "client_cpu": used,
        "megabytes": megabytes,
    }


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    name, url, calls, concurrency, seconds = sys.argv[1:]
    result = asyncio.run(
        _measured(name, url, int(calls), int(concurrency), float(seconds))
    )
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
