"""Writes what has become of a batch's lines into its files."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic_core import from_json

from api.models.batch_models import Batch, BatchStatus, FileRecord, Vendor
from api.models.metrics import ProcessingMetrics
from api.services.batches.batch_service import shown_batch_id
from api.services.batches.batch_store import BatchStore
from api.services.batches.file_service import FileService, NewFile
from api.services.batches.input_lines import RawLine, raw_lines
from api.services.batches.line_jobs import line_id
from api.services.batches.result_lines import Ending, line_result
from utilities.clock import Clock
from utilities.cosmos_connector import Document, ObjectId
from utilities.slices import blocks

_AT_ONCE = 500
_USED = (
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)


@dataclass
class Written:
    """The files that were written, and what they say."""

    files: dict[str, str] = field(default_factory=dict)
    endings: Counter[Ending] = field(default_factory=Counter)
    usage: Counter[str] = field(default_factory=Counter)

    def changes(self) -> Document:
        """Give the fields of the batch that tell of it."""
        return {
            "outputFileId": self.files.get("output"),
            "errorFileId": self.files.get("error"),
            "counts": {each.value: self.endings[each] for each in Ending},
            "usage": {
                "inputTokens": self.usage["input_tokens"],
                "cachedTokens": self.usage["cached_tokens"],
                "outputTokens": self.usage["output_tokens"],
                "reasoningTokens": self.usage["reasoning_tokens"],
            },
        }


class BatchOutput:
    """Writes the files of one batch; again, it writes the same ones."""

    def __init__(
        self, batch: Batch, store: BatchStore, files: FileService, clock: Clock
    ) -> None:
        self._batch = batch
        self._store = store
        self._files = files
        self._clock = clock
        self._open: dict[str, NewFile] = {}
        self._written = Written()

    async def write(self, source: FileRecord) -> Written:
        """Write a line for each request of the input, in its order."""
        async for lines in raw_lines(self._files.content(source)):
            requests = await asyncio.to_thread(_custom_ids, lines)
            for block in blocks(requests, _AT_ONCE):
                await self._write(block)
        seconds = self._batch.output_seconds
        expires_at = self._clock() + seconds * 1000
        for kind, new in self._open.items():
            record = await self._files.finish(new, expires_at)
            self._written.files[kind] = record.file_id
        return self._written

    async def _write(self, requests: Sequence[tuple[int, str]]) -> None:
        batch = self._batch
        jobs = await self._store.lines(batch, [each for each, _ in requests])
        found: dict[str, list[bytes]] = {"output": [], "error": []}
        for number, custom_id in requests:
            job_id = line_id(batch.batch_id, number)
            job = jobs.get(job_id)
            result = line_result(
                batch.vendor,
                str(job_id),
                custom_id,
                job,
                is_cancelled=batch.status is BatchStatus.CANCELLING,
            )
            self._written.endings[result.ending] += 1
            self._count(job)
            found[self._kind(result.ending)].append(result.content)
        for kind, lines in found.items():
            if lines:
                file = await self._file(kind)
                await file.add(b"\n".join(lines) + b"\n")

    def _kind(self, ending: Ending) -> str:
        is_whole = self._batch.vendor is Vendor.ANTHROPIC
        is_output = is_whole or ending is Ending.SUCCEEDED
        return "output" if is_output else "error"

    def _count(self, job: Document | None) -> None:
        metrics = (job or {}).get("processingMetrics")
        if metrics:
            used = ProcessingMetrics.model_validate(metrics)
            for name in _USED:
                self._written.usage[name] += getattr(used, name, 0) or 0

    async def _file(self, kind: str) -> NewFile:
        if kind not in self._open:
            batch = self._batch
            text = f"batch/{batch.batch_id}/{kind}"
            self._open[kind] = await self._files.output(
                ObjectId(hashlib.sha256(text.encode()).digest()[:12]),
                batch.client_id,
                f"{shown_batch_id(batch)}_{kind}.jsonl",
                batch.vendor,
            )
        return self._open[kind]


def _custom_ids(lines: Sequence[RawLine]) -> list[tuple[int, str]]:
    """Return the numbers and ids of lines that have been checked before."""
    return [
        (line.number, from_json(line.content)["custom_id"])
        for line in lines
        if line.content is not None
    ]
