"""The vendors' batch interfaces of a service, as `metasync batch` uses them.

The two differ in their words; what they do is the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from cli.batch_input import BatchInput, Format
from cli.rest_client import Json, RestClient

_ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True, slots=True)
class BatchState:
    """How far a batch is; `files` are the paths of its results."""

    status: str
    has_ended: bool
    files: Sequence[str] = ()
    # What is wrong with the input, if the service does not take it.
    mistakes: Sequence[str] = ()


class BatchApi(Protocol):
    """One vendor's interface."""

    def begin(self, api: RestClient, content: Path, key: str) -> str:
        """Send the requests; return the id of their batch.

        The same `key` again is the same batch.
        """

    def state(self, api: RestClient, batch_id: str) -> BatchState:
        """Tell how far a batch is."""

    def job_key(self, batch_id: str) -> str:
        """Give the `batchKey` of a batch's jobs."""


@dataclass(frozen=True, slots=True)
class OpenAIBatches:
    """`/v1/files` and `/v1/batches`."""

    endpoint: str

    def begin(self, api: RestClient, content: Path, key: str) -> str:
        """Upload a file, and begin its batch; see `BatchApi`."""
        file = api.form("/v1/files", content, purpose="batch")
        body = {
            "input_file_id": file["id"],
            "endpoint": self.endpoint,
            "completion_window": "24h",
        }
        return str(api.post("/v1/batches", body, key)["id"])

    def state(self, api: RestClient, batch_id: str) -> BatchState:
        """Tell how far a batch is; see `BatchApi`."""
        batch = api.get(f"/v1/batches/{batch_id}")
        files = [batch[f"{each}_file_id"] for each in ("output", "error")]
        return BatchState(
            batch["status"],
            batch["status"] in _ENDED,
            [f"/v1/files/{each}/content" for each in files if each],
            [
                _mistake(each)
                for each in (batch["errors"] or {}).get("data", ())
            ],
        )

    def job_key(self, batch_id: str) -> str:
        """Give the `batchKey` of its jobs; see `BatchApi`."""
        return f"openai-batch-{batch_id.removeprefix('batch_')}"


class AnthropicBatches:
    """`/v1/messages/batches`."""

    path = "/v1/messages/batches"

    def begin(self, api: RestClient, content: Path, key: str) -> str:
        """Send the requests; see `BatchApi`."""
        return str(api.stream(self.path, content, key)["id"])

    def state(self, api: RestClient, batch_id: str) -> BatchState:
        """Tell how far a batch is; see `BatchApi`."""
        batch: Json = api.get(f"{self.path}/{batch_id}")
        has_results = batch["results_url"] is not None
        return BatchState(
            batch["processing_status"],
            batch["processing_status"] == "ended",
            [f"{self.path}/{batch_id}/results"] if has_results else [],
        )

    def job_key(self, batch_id: str) -> str:
        """Give the `batchKey` of its jobs; see `BatchApi`."""
        return f"anthropic-batch-{batch_id.removeprefix('msgbatch_')}"


def batch_api(source: BatchInput) -> BatchApi:
    """Give the interface that an input is for."""
    if source.format is Format.ANTHROPIC:
        return AnthropicBatches()
    return OpenAIBatches(source.endpoint)


def save_results(
    api: RestClient, state: BatchState, target: IO[bytes]
) -> None:
    """Write a batch's results behind what is in a file."""
    for path in state.files:
        api.save(path, target)


def _mistake(error: Mapping[str, object]) -> str:
    line = error.get("line")
    where = "" if line is None else f"line {line}: "
    return f"{where}{error.get('message')}"
