"""Takes the rows whose answers the server has, before any job is made."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console

from cli.input_file import Item
from cli.job_requests import JobRequests
from cli.rest_client import Json, RestClient
from cli.results_file import PROCESSED, ResultsFile, row_of
from cli.terminal import say

# What the server takes in one request, and well below its limit of bytes.
_ROWS, _BYTES = 1000, 8 * 1024 * 1024
# While one block is answered, the next one is being written.
_AT_ONCE = 2
_NOTHING = {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}


def take_known(
    api: RestClient,
    requests: JobRequests,
    items: Sequence[Item],
    results: ResultsFile,
    console: Console,
) -> None:
    """Write the rows down that are known, and say how many there were.

    The results have them then, as if an earlier run had written them.

    Raises:
        CommandError: the server refuses the question, or went away.
    """
    if known := _take(api, requests.asked, items, results):
        say(console, f"{known:,} rows from memory.")


def _take(
    api: RestClient,
    body_of: Callable[[Item], Json],
    items: Sequence[Item],
    results: ResultsFile,
) -> int:
    # Rows are looked up by what differs, which messages with images do.
    waiting = [
        item
        for item in items
        if item.key not in results.kept and not item.attachments
    ]
    blocks = list(_blocks(sorted(waiting, key=lambda each: each.sample or 0)))
    threads = ThreadPoolExecutor(_AT_ONCE)
    try:
        answers = threads.map(lambda each: _ask(api, each, body_of), blocks)
        return sum(
            _write(block, found, results)
            for block, found in zip(blocks, answers, strict=True)
        )
    finally:
        threads.shutdown(cancel_futures=True)


def _ask(
    api: RestClient, block: Sequence[Item], body_of: Callable[[Item], Json]
) -> list[Json | None]:
    body = {
        "job": body_of(block[0]),
        "rows": [item.request_data for item in block],
    }
    found: list[Json | None] = api.post("/jobs/answers", body)["answers"]
    return found


def _write(
    block: Sequence[Item],
    found: Sequence[Json | None],
    results: ResultsFile,
) -> int:
    rows = [
        row_of(item, _as_job(answer))
        for item, answer in zip(block, found, strict=True)
        if answer is not None
    ]
    if rows:
        results.write(rows)
        results.kept.update({row["key"]: row for row in rows})
    return len(rows)


def _as_job(answer: Json) -> dict[str, Any]:
    return {
        "status": PROCESSED,
        "processingMetrics": _NOTHING,
        "responseData": answer["responseData"],
        "jobId": answer["jobId"],
        "cachedFrom": answer["jobId"],
    }


def _blocks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Split into what is asked at once: of one sample, neither too long."""
    block: list[Item] = []
    size = 0
    for item in items:
        full = len(block) == _ROWS or size + item.size > _BYTES
        if block and (full or item.sample != block[0].sample):
            yield block
            block, size = [], 0
        block.append(item)
        size += item.size
    if block:
        yield block
