"""What is done with a batch in each of its statuses.

Every step can be repeated: a process that is killed in the middle of one
leaves nothing that the next one would do twice.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from api.models.batch_models import Batch, BatchStatus, FileRecord, Vendor
from api.models.job_bulk_models import JobBulkChange, JobBulkFilter
from api.models.job_status import JobStatus
from api.services.batches.batch_store import BatchStore, ended_well, going_on
from api.services.batches.file_service import FileService
from api.services.batches.input_lines import (
    LineChecker,
    Mistake,
    RawLine,
    Request,
    raw_lines,
    read_request,
)
from api.services.batches.line_jobs import batch_key, line_documents
from api.services.jobs.job_bulk import JobBulk
from api.services.models.model_service import ModelService
from api.services.queue.queue_order import Aging
from api.services.routes.route_names import RouteNames
from api.services.shared.caller import Caller
from llm_workers.built_in.batch_output import BatchOutput, Written
from utilities import payload
from utilities.clock import Clock
from utilities.signals import Signals, jobs_waiting
from utilities.slices import blocks

# Lines that are made into jobs between two looks at the batch's status.
_INSERTED_AT_ONCE = 500
_CHECKED_AT_ONCE = 500
_NAMES_AT_ONCE = 500
# How long nothing is counted after a count, in counts: a large batch must
# not keep the database busy with counting.
_PAUSE_IN_COUNTS = 20
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StepParts:
    """What the steps are made with."""

    store: BatchStore
    files: FileService
    models: ModelService
    routes: RouteNames
    jobs: JobBulk
    signals: Signals
    aging: Aging
    clock: Clock


class BatchSteps:
    """Works on batches; the caller makes sure that nobody else does."""

    def __init__(self, parts: StepParts) -> None:
        self._parts = parts
        self._store = parts.store

    async def advance(self, batch: Batch) -> float:
        """Do what is next; return after how many seconds to look again.

        Raises:
            StoreError: nothing is lost; it can be tried again.
        """
        steps = {
            BatchStatus.VALIDATING: self._validate,
            BatchStatus.IN_PROGRESS: self._watch,
            BatchStatus.FINALIZING: self._finish,
            BatchStatus.CANCELLING: self._cancel,
        }
        return await steps[batch.status](batch)

    async def _validate(self, batch: Batch) -> float:
        source = await self._parts.files.of_id(batch.input_file_id)
        if source is None:
            await self._fail(batch, [_NO_FILE.told()])
            return 0.0
        if batch.vendor is Vendor.OPENAI:
            checked = await self._checked(batch, source)
            if checked is None:
                return 0.0
            batch = checked
        await self._insert(batch, source)
        await self._store.move(batch, BatchStatus.IN_PROGRESS)
        self._parts.signals.publish(jobs_waiting(batch.client_id))
        return 0.0

    async def _checked(self, batch: Batch, source: FileRecord) -> Batch | None:
        """Check all lines; None if the batch has failed."""
        checker = LineChecker(f"/v1{batch.interface}")
        async for lines in raw_lines(self._parts.files.content(source)):
            for block in blocks(lines, _CHECKED_AT_ONCE):
                await asyncio.to_thread(checker.check, block)
        known = await self._known(checker.models)
        await asyncio.to_thread(checker.close, known.__contains__)
        if checker.mistakes:
            await self._fail(batch, checker.mistakes.told())
            return None
        names = list(checker.models)
        model = names[0] if len(names) == 1 else None
        total = checker.requests
        await self._store.change(batch, total=total, model=model)
        return batch.model_copy(update={"total": total, "model": model})

    async def _known(self, names: Collection[str]) -> set[str]:
        """Return those names that models or routes have."""
        known = set(await self._parts.models.ids(set(names)))
        for block in blocks(sorted(set(names) - known), _NAMES_AT_ONCE):
            known |= await self._parts.routes.among(block)
        return known

    async def _fail(
        self, batch: Batch, errors: Sequence[dict[str, object]]
    ) -> None:
        await self._store.move(
            batch, BatchStatus.FAILED, errors=payload.dump(list(errors))
        )

    async def _insert(self, batch: Batch, source: FileRecord) -> None:
        """Make jobs of the lines, until the batch is cancelled."""
        async for lines in raw_lines(self._parts.files.content(source)):
            for block in blocks(lines, _INSERTED_AT_ONCE):
                now = await self._store.get(batch.batch_id)
                if now is None or now.status is not batch.status:
                    return
                documents = await asyncio.to_thread(
                    _documents, self._parts, batch, block
                )
                await self._store.insert_lines(documents)

    async def _watch(self, batch: Batch) -> float:
        """Count what has ended; go on when everything has."""
        began = time.monotonic()
        counts = await self._store.statuses(batch)
        if not going_on(counts):
            await self._store.move(batch, BatchStatus.FINALIZING)
            return 0.0
        succeeded = ended_well(counts)
        errored = counts.get(JobStatus.ERROR_PROCESSING, 0)
        canceled = counts.get(JobStatus.CANCELED, 0)
        known = batch.counts
        if (succeeded, errored, canceled) != (
            known.succeeded,
            known.errored,
            known.canceled,
        ):
            await self._store.change(
                batch,
                counts={
                    "succeeded": succeeded,
                    "errored": errored,
                    "canceled": canceled,
                },
            )
        pause = (time.monotonic() - began) * _PAUSE_IN_COUNTS
        return min(max(pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    async def _cancel(self, batch: Batch) -> float:
        """Cancel what waits or runs; then end the batch."""
        change = JobBulkChange(
            filter=JobBulkFilter(batch_key=batch_key(batch))
        )
        await self._parts.jobs.cancel(change, Caller(batch.client_id))
        if going_on(await self._store.statuses(batch)):
            return _SHORTEST_PAUSE
        return await self._finish(batch)

    async def _finish(self, batch: Batch) -> float:
        """Write the batch's files, and end it."""
        source = await self._parts.files.of_id(batch.input_file_id)
        output = BatchOutput(
            batch, self._store, self._parts.files, self._parts.clock
        )
        written = Written()
        if source is not None and batch.total:
            written = await output.write(source)
        changes = written.changes()
        to = BatchStatus.COMPLETED
        if batch.status is BatchStatus.CANCELLING:
            to = BatchStatus.CANCELLED
        elif changes["counts"]["expired"]:
            to = BatchStatus.EXPIRED
        await self._store.move(batch, to, **changes)
        log.info(
            "batch_ended",
            batchId=batch.batch_id,
            status=to,
            lines=batch.total,
        )
        return 0.0


_NO_FILE = Mistake(None, "invalid_file", "The input file was deleted")


def _documents(
    parts: StepParts, batch: Batch, lines: Sequence[RawLine]
) -> list[dict[str, object]]:
    endpoint = f"/v1{batch.interface}"
    read = (read_request(line, endpoint) for line in lines)
    # All of them have been checked before.
    requests = [each for each in read if isinstance(each, Request)]
    return line_documents(batch, requests, parts.clock(), parts.aging)
