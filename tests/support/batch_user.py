"""A client that sends batches with the vendors' libraries."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from openai import OpenAI
from openai.types import Batch, FileObject

from tests.support.api_user import Json
from tests.support.gateway_user import GatewayUser
from tests.support.waiting import eventually

CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


def line(
    custom_id: str, model: str, text: str = "Hello", url: str = CHAT
) -> Json:
    """Give a request of a chat as a line of a file."""
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def lines_of(rows: Iterable[Any]) -> bytes:
    """Write JSON Lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read_lines(content: bytes) -> list[Json]:
    """Read JSON Lines."""
    return [json.loads(each) for each in content.splitlines()]


def upload(client: OpenAI, content: bytes | Sequence[Json]) -> FileObject:
    """Upload the input of a batch."""
    if not isinstance(content, bytes):
        content = lines_of(content)
    return client.files.create(file=("input.jsonl", content), purpose="batch")


def begin(
    client: OpenAI, content: bytes | Sequence[Json], endpoint: Any = CHAT
) -> Batch:
    """Upload a file, and begin its batch."""
    return client.batches.create(
        input_file_id=upload(client, content).id,
        endpoint=endpoint,
        completion_window="24h",
    )


def ended(client: OpenAI, batch: Batch, seconds: float = 30) -> Batch:
    """Wait for the end of a batch."""

    def look() -> Batch | None:
        found = client.batches.retrieve(batch.id)
        return found if found.status in ENDED else None

    return eventually(look, seconds=seconds, what="the batch's end")


def content_of(client: OpenAI, file_id: str | None) -> list[Json]:
    """Read the lines of a file; none, if there is no file."""
    if file_id is None:
        return []
    return read_lines(client.files.content(file_id).read())


def counts_of_jobs(user: GatewayUser, batch: Batch) -> dict[str, int]:
    """Count the jobs of a batch anew, by status."""
    found: dict[str, int] = {}
    key = f"openai-batch-{batch.id.removeprefix('batch_')}"
    for job in user.get("/jobs", batchKey=key, limit=1000):
        found[job["status"]] = found.get(job["status"], 0) + 1
    return found
