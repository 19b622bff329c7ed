"""`metasync run`: every line of a file becomes a job, and an answer."""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import httpx2

from cli.answers_options import WITHOUT_CACHE, CacheOptions
from cli.errors import CommandError
from cli.input_file import Item, Question
from cli.job_body import job_body
from cli.rest_client import Json, RestClient, ServerRefusedError
from cli.results_file import ANSWERED, PROCESSED, ResultsFile, Row, row_of
from utilities import payload

_BLOCK = 500
# Well below what a server takes in one request.
_BLOCK_BYTES = 8 * 1024 * 1024
_FIRST_POLL_SECONDS = 0.1
_LAST_POLL_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 5.0
# Without an answer for so long, people want to know why.
_SILENT_SECONDS = 5.0
# A model that is suspended is news much sooner.
_FIRST_LOOK_SECONDS = 1.0
_SUSPENDED = "SUSPENDED"
_MOST_KEYS = 100
_FAILED, _CANCELED, _DELETED = "ERROR_PROCESSING", "CANCELED", "DELETED"
_ENDED = ANSWERED | {_FAILED, _CANCELED, _DELETED}
_ALREADY_SO = (httpx2.codes.BAD_REQUEST, httpx2.codes.CONFLICT)


@dataclass(frozen=True)
class Tally:
    """Where a run stands.

    `kept` rows are in the results already, `remembered` ones are earlier
    answers to the same questions, `kept_remembered` ones are both.
    """

    total: int
    answered: int = 0
    failed: int = 0
    kept: int = 0
    remembered: int = 0
    kept_remembered: int = 0
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

    def with_row(self, row: Row) -> "Tally":
        """Count one more row."""
        metrics = row.get("metrics") or {}
        good = row["status"] == PROCESSED
        return replace(
            self,
            answered=self.answered + good,
            failed=self.failed + (not good),
            remembered=self.remembered + ("cachedFrom" in row),
            labelled=self.labelled + ("correct" in row),
            correct=self.correct + bool(row.get("correct")),
            input_tokens=self.input_tokens + metrics.get("inputTokens", 0),
            output_tokens=self.output_tokens + metrics.get("outputTokens", 0),
            cost=self.cost + (metrics.get("totalCost") or 0.0),
            currency=metrics.get("currency") or self.currency,
        )


def tally_of_kept(items: Sequence[Item], results: ResultsFile) -> Tally:
    """Count what an earlier run has answered."""
    tally = Tally(total=len(items), kept=len(results.kept))
    for row in results.kept.values():
        tally = tally.with_row(row)
    return replace(tally, kept_remembered=tally.remembered)


class Display(Protocol):
    """Shows people how a run goes."""

    def update(self, tally: Tally) -> None:
        """Show where it stands."""

    def tell(self, trouble: str) -> None:
        """Say, once, why nothing comes."""


@dataclass
class _Progress:
    """The run's own memory: what is open, what has come."""

    open: dict[str, Item] = field(default_factory=dict)
    failures: list[Row] = field(default_factory=list)
    # How many failed jobs the server had when they were last read.
    failed_there: int = 0


class BatchRun:
    """Submits items, fetches their answers, writes them down.

    Safe to stop at any moment and to start again: a line's job is found
    again by its idempotency key, and a fetched answer by its key in the
    results file. Runs that ask the same question share lists on the
    server, so each takes what is its own and leaves the rest.
    """

    def __init__(
        self,
        api: RestClient,
        question: Question,
        prompt_id: str,
        results: ResultsFile,
        display: Display,
        *,
        cache: CacheOptions = WITHOUT_CACHE,
        salt: str = "",
        fail_fast: bool = False,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take what is asked, and how.

        Runs with another `salt` have jobs of their own. `fail_fast` ends
        the run as soon as the model is suspended, where it would wait for
        the account to be opened again.
        """
        self._api = api
        self._question = question
        self._prompt_id = prompt_id
        self._results = results
        self._display = display
        self._cache = cache
        # By it, the server need not look at the jobs of other runs.
        self._batch = {"batchKey": f"run-{salt}"} if salt else {}
        self._fail_fast = fail_fast
        self._pause = pause
        self._progress = _Progress()
        self._tally = Tally(total=0)
        self._started = time.monotonic()
        self._run_id = _run_id(question)

    def execute(self, items: Sequence[Item]) -> tuple[Tally, list[Row]]:
        """Run all items; returns the tally and the rows of the failed.

        Raises:
            CommandError: the server refuses a line, or went away.
        """
        self._tally = tally_of_kept(items, self._results)
        self._show()
        waiting = [i for i in items if i.key not in self._results.kept]
        for block in _blocks(waiting):
            self._submit(block)
            self._fetch_answers()
        self._wait_for_the_rest()
        return self._tally, self._progress.failures

    def _submit(self, block: Sequence[Item], key_number: int = 1) -> None:
        ended, failed, canceled = [], [], []
        for item, job in self._post(block, key_number):
            # An earlier run's job may have ended: answered, or failed and
            # wanted once more. A canceled one can only be made anew.
            if job["status"] == _CANCELED:
                canceled.append(item)
                continue
            self._progress.open[job["jobId"]] = item
            if job["status"] in ANSWERED:
                ended.append(job)
            elif job["status"] == _FAILED:
                failed.append(job["jobId"])
        self._take(ended)
        self._change(failed, "PENDING")
        if canceled:
            self._submit(canceled, key_number + 1)

    def _post(
        self, block: Sequence[Item], key_number: int
    ) -> list[tuple[Item, Json]]:
        jobs = [self._job(item, key_number) for item in block]
        try:
            made = self._api.post("/jobs/batch", {"jobs": jobs})
        except ServerRefusedError as error:
            conflict = error.status == httpx2.codes.CONFLICT
            if not conflict or key_number > _MOST_KEYS:
                raise _in_lines(error, block) from None
            # Somebody deleted the job of one of the lines: it gets another
            # key, as soon as it is found which.
            if len(block) == 1:
                return self._post(block, key_number + 1)
            half = len(block) // 2
            first = self._post(block[:half], key_number)
            return first + self._post(block[half:], key_number)
        return list(zip(block, made, strict=True))

    def _job(self, item: Item, key_number: int) -> Json:
        job = {
            "id": item.own_id,
            **job_body(self._question, self._prompt_id, item, self._cache),
            # Not the line's number: the same line may stand elsewhere in
            # the file of a later run, and is still the same request.
            "clientReference": {"run": self._run_id},
            **self._batch,
        }
        return job | {"idempotencyKey": _key(item, key_number, job)}

    def _wait_for_the_rest(self) -> None:
        wait, silent = _FIRST_POLL_SECONDS, 0.0
        while self._progress.open:
            before, started = self._tally.ended, time.monotonic()
            self._fetch_answers()
            waiting = self._fetch_failures()
            took = time.monotonic() - started
            if self._tally.ended > before:
                wait, silent = _FIRST_POLL_SECONDS, 0.0
            elif not waiting:
                self._look_at_each()
            elif silent >= _SILENT_SECONDS:
                self._look_for_trouble()
                silent = 0.0
            elif silent >= _FIRST_LOOK_SECONDS:
                self._look_for_suspension(self._oldest())
            self._show()
            if self._progress.open:
                # A server that has much to count is asked less often.
                pause = max(wait, min(took, _LONGEST_PAUSE_SECONDS))
                self._pause(pause)
                silent += pause
                wait = min(wait * 1.5, _LAST_POLL_SECONDS)

    def _fetch_answers(self) -> None:
        self._take(self._list(PROCESSED))
        self._show()

    def _fetch_failures(self) -> bool:
        """Take the failed; says whether any job waits or runs."""
        counts = self._api.get("/jobs/summary", **self._reference())
        # Failed jobs stay in their list: it is read when it has changed.
        if counts[_FAILED] != self._progress.failed_there:
            self._take(self._list(_FAILED))
            self._progress.failed_there = counts[_FAILED]
        return bool(counts["PENDING"] + counts["PROCESSING"])

    def _look_at_each(self) -> None:
        # Nothing is left to do, and yet lines are open: somebody else has
        # fetched, canceled or deleted their jobs.
        jobs = [self._read(job_id) for job_id in self._progress.open]
        self._take([job for job in jobs if job["status"] in _ENDED])

    def _look_for_trouble(self) -> None:
        # The oldest of them was surely tried.
        job = self._oldest()
        if self._look_for_suspension(job):
            return
        if history := job.get("attemptHistory"):
            self._display.tell(history[-1]["reason"])

    def _look_for_suspension(self, job: Json) -> bool:
        """Say so if the job's model is suspended.

        Raises:
            CommandError: it is, and the run is not to wait.
        """
        waiting = job.get("waitingFor") or {}
        if waiting.get("kind") != _SUSPENDED:
            return False
        name = self._question.model
        trouble = f"model {name} is suspended: {waiting.get('detail')}"
        if self._fail_fast:
            raise CommandError(
                f"Stopped, because {trouble}. The same command continues "
                "where it stopped."
            )
        self._display.tell(trouble)
        return True

    def _oldest(self) -> Json:
        return self._read(next(iter(self._progress.open)))

    def _read(self, job_id: str) -> Json:
        try:
            job: Json = self._api.get(f"/jobs/{job_id}")
        except ServerRefusedError as error:
            if error.status != httpx2.codes.NOT_FOUND:
                raise
            fields = ("responseData", "errorData", "processingMetrics")
            nothing = dict.fromkeys(fields)
            return {"jobId": job_id, "status": _DELETED, **nothing}
        return job

    def _list(self, status: str) -> list[Json]:
        reference = self._reference()
        return list(self._api.pages("/jobs", status=status, **reference))

    def _reference(self) -> dict[str, str]:
        return self._batch or {"clientReference.run": self._run_id}

    def _take(self, jobs: Sequence[Json]) -> None:
        """Write down what is ours among these ended jobs."""
        mine = [job for job in jobs if job["jobId"] in self._progress.open]
        if not mine:
            return
        items = [self._progress.open.pop(job["jobId"]) for job in mine]
        rows = [row_of(i, job) for i, job in zip(items, mine, strict=True)]
        self._results.write(rows)
        for row in rows:
            self._tally = self._tally.with_row(row)
            if row["status"] != PROCESSED:
                self._progress.failures.append(row)
        # What has been written down need not be listed again.
        new = [job["jobId"] for job in mine if job["status"] == PROCESSED]
        self._change(new, "CONSUMED")

    def _change(self, job_ids: Sequence[str], status: str) -> None:
        if not job_ids:
            return
        changes = [{"jobId": i, "status": status} for i in job_ids]
        try:
            self._api.patch("/jobs/batch", {"jobs": changes})
        except ServerRefusedError as error:
            # All or nothing: one of them is so already, because another
            # run was faster or this request arrived twice.
            if error.status not in _ALREADY_SO:
                raise
            if len(job_ids) > 1:
                half = len(job_ids) // 2
                self._change(job_ids[:half], status)
                self._change(job_ids[half:], status)

    def _show(self) -> None:
        seconds = time.monotonic() - self._started
        self._tally = replace(self._tally, seconds=seconds)
        self._display.update(self._tally)


def _blocks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    block: list[Item] = []
    size = 0
    for item in items:
        full = len(block) == _BLOCK or size + item.size > _BLOCK_BYTES
        if block and full:
            yield block
            block, size = [], 0
        block.append(item)
        size += item.size
    if block:
        yield block


def _in_lines(
    error: ServerRefusedError, block: Sequence[Item]
) -> CommandError:
    """Name the line where the server names the item of a batch."""

    def line(match: re.Match[str]) -> str:
        return f"line {block[int(match[1])].line}"

    return CommandError(re.sub(r"batch item (\d+)", line, str(error)))


def _key(item: Item, key_number: int, job: Json) -> str:
    """Make the key of a request; another request has another one."""
    suffix = f"/{key_number}" if key_number > 1 else ""
    digest = hashlib.sha256(payload.dump(job).encode()).hexdigest()[:16]
    return f"{item.key}{suffix}.{digest}"


def _run_id(question: Question) -> str:
    parts = payload.dump(question.parts)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]
