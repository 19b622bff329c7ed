"""`metasync run`: every line of a file becomes a job, and an answer."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from cli.input_file import Item, Question
from cli.rest_client import Json, RestClient, ServerRefusedError
from cli.results_file import PROCESSED, ResultsFile, Row
from utilities import payload

_BLOCK = 500
_FIRST_POLL_SECONDS = 0.1
_LAST_POLL_SECONDS = 1.0
_DONE = frozenset({"PROCESSED", "CONSUMED"})
_FAILED = "ERROR_PROCESSING"


@dataclass(frozen=True)
class Tally:
    """Where a run stands."""

    total: int
    answered: int = 0
    failed: int = 0
    kept: int = 0
    labelled: int = 0
    correct: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    currency: str | None = None
    seconds: float = 0.0

    @property
    def ended(self) -> int:
        """How many lines need no more work."""
        return self.answered + self.failed


class Display(Protocol):
    """Shows people how a run goes."""

    def update(self, tally: Tally) -> None:
        """Show where it stands."""


@dataclass
class _Progress:
    """The run's own memory: what is open, what has come."""

    open: dict[str, Item] = field(default_factory=dict)
    failures: list[Row] = field(default_factory=list)


class BatchRun:
    """Submits items, fetches their answers, writes them down.

    Safe to stop at any moment and to start again: a line's job is found
    again by its idempotency key, and a fetched answer by its key in the
    results file.
    """

    def __init__(
        self,
        api: RestClient,
        question: Question,
        prompt_id: str,
        results: ResultsFile,
        display: Display,
    ) -> None:
        self._api = api
        self._question = question
        self._prompt_id = prompt_id
        self._results = results
        self._display = display
        self._progress = _Progress()
        self._tally = Tally(total=0)
        self._started = time.monotonic()
        self._run_id = _run_id(question)

    def execute(self, items: Sequence[Item]) -> tuple[Tally, list[Row]]:
        """Run all items; returns the tally and the rows of the failed."""
        self._tally = Tally(total=len(items))
        self._count_kept(items)
        waiting = [i for i in items if i.key not in self._results.kept]
        for block in batched_list(waiting, _BLOCK):
            self._submit(block)
            self._fetch(_DONE_FILTER)
        self._wait_for_the_rest()
        return self._tally, self._progress.failures

    def _count_kept(self, items: Sequence[Item]) -> None:
        for item in items:
            if (row := self._results.kept.get(item.key)) is not None:
                self._count(row)
                self._tally = replace(self._tally, kept=self._tally.kept + 1)
        self._show()

    def _submit(self, block: Sequence[Item]) -> None:
        jobs = self._api.post(
            "/jobs/batch", {"jobs": [self._job(item) for item in block]}
        )
        ended = []
        for item, job in zip(block, jobs, strict=True):
            self._progress.open[job["jobId"]] = item
            # An earlier run's job: answered already, or failed and wanted
            # once more.
            if job["status"] in _DONE:
                ended.append(job)
            elif job["status"] == _FAILED:
                self._api.patch(f"/jobs/{job['jobId']}", {"status": "PENDING"})
        self._take(ended)

    def _job(self, item: Item) -> Json:
        return {
            "id": item.own_id,
            "operation": "run",
            "workingPrompts": [self._prompt_id],
            "model": self._question.model,
            "temperature": self._question.temperature,
            "requestData": item.request_data,
            "clientReference": {"run": self._run_id, "line": item.line},
            "idempotencyKey": item.key,
        }

    def _wait_for_the_rest(self) -> None:
        wait = _FIRST_POLL_SECONDS
        while self._progress.open:
            before = self._tally.ended
            self._fetch(_DONE_FILTER)
            self._fetch_failures()
            self._show()
            if not self._progress.open:
                break
            if self._tally.ended == before:
                wait = min(wait * 1.5, _LAST_POLL_SECONDS)
            else:
                wait = _FIRST_POLL_SECONDS
            time.sleep(wait)

    def _fetch(self, where: dict[str, str]) -> None:
        jobs = list(self._pages(where))
        self._take(jobs)
        self._mark_consumed([job["jobId"] for job in jobs])
        self._show()

    def _fetch_failures(self) -> None:
        # Failed jobs stay in their list: it is read when it has grown.
        counts = self._api.get("/jobs/summary", **self._reference())
        if counts[_FAILED] > len(self._progress.failures):
            self._take(list(self._pages({"status": _FAILED})))

    def _pages(self, where: dict[str, str]) -> Iterator[Json]:
        return self._api.pages("/jobs", **where, **self._reference())

    def _reference(self) -> dict[str, str]:
        return {"clientReference.run": self._run_id}

    def _take(self, jobs: Sequence[Json]) -> None:
        rows = []
        for job in jobs:
            item = self._progress.open.pop(job["jobId"], None)
            if item is not None:
                rows.append(_row(item, job))
        self._results.write(rows)
        for row in rows:
            self._count(row)
            if row["status"] != PROCESSED:
                self._progress.failures.append(row)

    def _mark_consumed(self, job_ids: Sequence[str]) -> None:
        # What has been written down need not be listed again.
        for block in batched_list(job_ids, _BLOCK):
            changes = [{"jobId": i, "status": "CONSUMED"} for i in block]
            try:
                self._api.patch("/jobs/batch", {"jobs": changes})
            except ServerRefusedError as error:
                # Repeated after a broken connection: it is done already.
                if error.status not in (400, 409):
                    raise

    def _count(self, row: Row) -> None:
        metrics = row.get("metrics") or {}
        good = row["status"] == PROCESSED
        old = self._tally
        self._tally = replace(
            old,
            answered=old.answered + good,
            failed=old.failed + (not good),
            labelled=old.labelled + ("correct" in row),
            correct=old.correct + bool(row.get("correct")),
            input_tokens=old.input_tokens + metrics.get("inputTokens", 0),
            output_tokens=old.output_tokens + metrics.get("outputTokens", 0),
            cost=old.cost + (metrics.get("totalCost") or 0.0),
            currency=metrics.get("currency") or old.currency,
        )

    def _show(self) -> None:
        seconds = time.monotonic() - self._started
        self._tally = replace(self._tally, seconds=seconds)
        self._display.update(self._tally)


_DONE_FILTER = {"status": PROCESSED}


def batched_list(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield slices of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _run_id(question: Question) -> str:
    parts = [question.model, question.prompt, question.temperature]
    return hashlib.sha256(payload.dump(parts).encode()).hexdigest()[:16]


def _row(item: Item, job: Json) -> Row:
    row: Row = {
        "id": item.own_id,
        "line": item.line,
        "status": PROCESSED if job["status"] in _DONE else job["status"],
        "response": job["responseData"],
        "metrics": job["processingMetrics"],
        "jobId": job["jobId"],
        "key": item.key,
    }
    if job["status"] == _FAILED:
        row["error"] = job["errorData"]
    elif item.label is not None:
        row |= {
            "label": item.label,
            "correct": _said(job["responseData"]) == item.label.casefold(),
        }
    return row


def _said(response: object) -> str | None:
    """Return what a labelled answer says: its first value, as text."""
    if isinstance(response, dict) and response:
        response = next(iter(response.values()))
    return str(response).strip().casefold()
