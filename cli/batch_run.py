"""`metasync run`: every line of a file becomes a job, and an answer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import httpx2

from cli.early_stop import AllFailAlikeError, EarlyStop
from cli.errors import CommandError
from cli.input_file import Item, Question
from cli.job_requests import JobRequests, blocks, in_lines
from cli.rest_client import Json, RestClient, ServerRefusedError
from cli.results_file import ANSWERED, PROCESSED, ResultsFile, Row, row_of
from cli.spending import Spending
from cli.suspended import told_at_once
from cli.tally import Display, Tally, row_cost, tally_of_kept

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
# Not what was asked: that may be long, and is known here.
_READ = "status,responseData,errorData,processingMetrics,cachedFrom"
_ALREADY_SO = (httpx2.codes.BAD_REQUEST, httpx2.codes.CONFLICT)


@dataclass
class _Progress:
    """The run's own memory: what is open, what has come."""

    open: dict[str, Item] = field(default_factory=dict)
    failures: list[Row] = field(default_factory=list)
    # How many failed jobs the server had when they were last read.
    failed_there: int = 0


@dataclass(frozen=True)
class RunRules:
    """When a run ends, though rows are left.

    `fail_fast` ends it as soon as the model is suspended, where it would
    wait for the account to be opened again. `skip_failed` leaves the rows
    alone that failed in an earlier run.
    """

    fail_fast: bool = False
    skip_failed: bool = False
    early_stop: EarlyStop = field(default_factory=EarlyStop)
    spending: Spending | None = None


@dataclass
class _Silence:
    """How long to wait before the next look, and for how long nothing came."""

    wait: float = _FIRST_POLL_SECONDS
    seconds: float = 0.0

    def broken(self) -> None:
        """Begin anew: something came."""
        self.wait, self.seconds = _FIRST_POLL_SECONDS, 0.0

    def after(self, pause: float) -> None:
        """Count a pause in which nothing came."""
        self.seconds += pause
        self.wait = min(self.wait * 1.5, _LAST_POLL_SECONDS)


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
        requests: JobRequests | None = None,
        rules: RunRules | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take what is asked, and how."""
        self._api = api
        self._question = question
        self._results = results
        self._display = display
        self._rules = rules or RunRules()
        self._pause = pause
        self._progress = _Progress()
        self._silence = _Silence()
        self._tally = Tally(total=0)
        self._started = time.monotonic()
        self._requests = requests or JobRequests(question, prompt_id)

    def execute(self, items: Sequence[Item]) -> tuple[Tally, list[Row]]:
        """Run all items; returns the tally and the rows of the failed.

        Raises:
            AllFailAlikeError: the first rows all failed for one reason.
            CommandError: the server refuses a line, or went away.
        """
        self._tally = tally_of_kept(items, self._results)
        self._show()
        if self._rules.spending is not None:
            for row in self._results.kept.values():
                self._rules.spending.spend(row_cost(row))
        waiting = [i for i in items if i.key not in self._results.kept]
        try:
            self._submit_all(waiting)
            while self._progress.open:
                self._look()
        except AllFailAlikeError:
            self._cancel_the_rest()
            raise
        return self._tally, self._progress.failures

    def _submit_all(self, waiting: Sequence[Item]) -> None:
        """Submit what may be asked; the rest stays unasked."""
        for block in blocks(waiting):
            left = block
            while left:
                now = self._affordable(left)
                if now:
                    self._submit(now)
                    self._fetch_answers()
                    left = left[len(now) :]
                elif self._progress.open:
                    self._look()
                else:
                    return

    def _affordable(self, block: Sequence[Item]) -> Sequence[Item]:
        """Give as many of the first items as may be asked now."""
        spending = self._rules.spending
        if spending is None:
            return block
        for number, item in enumerate(block):
            if not spending.begin(item):
                return block[:number]
        return block

    def _cancel_the_rest(self) -> None:
        """Cancel what waits: it would fail alike."""
        waiting = {"status": "PENDING", **self._requests.filter}
        while True:
            done = self._api.post("/jobs/cancel", {"filter": waiting})
            if not done["changed"]:
                return

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
                failed.append(job)
        self._take(ended)
        if self._rules.skip_failed:
            self._take(failed, is_news=False)
        else:
            self._change([job["jobId"] for job in failed], "PENDING")
        if canceled:
            self._submit(canceled, key_number + 1)

    def _post(
        self, block: Sequence[Item], key_number: int
    ) -> list[tuple[Item, Json]]:
        jobs = [self._requests.job(item, key_number) for item in block]
        try:
            made = self._api.post("/jobs/batch", {"jobs": jobs}, fields=_READ)
        except ServerRefusedError as error:
            conflict = error.status == httpx2.codes.CONFLICT
            if not conflict or key_number > _MOST_KEYS:
                raise in_lines(error, block) from None
            # Somebody deleted the job of one of the lines: it gets another
            # key, as soon as it is found which.
            if len(block) == 1:
                return self._post(block, key_number + 1)
            half = len(block) // 2
            first = self._post(block[:half], key_number)
            return first + self._post(block[half:], key_number)
        return list(zip(block, made, strict=True))

    def _look(self) -> None:
        """Fetch what has ended; wait, if that is nothing."""
        before, started = self._tally.ended, time.monotonic()
        silence = self._silence
        self._fetch_answers()
        waiting = self._fetch_failures()
        took = time.monotonic() - started
        if self._tally.ended > before:
            silence.broken()
        elif not waiting:
            self._look_at_each()
        elif silence.seconds >= _SILENT_SECONDS:
            self._look_for_trouble()
            silence.seconds = 0.0
        elif silence.seconds >= _FIRST_LOOK_SECONDS:
            self._look_for_suspension(self._oldest())
        self._show()
        if self._progress.open:
            # A server that has much to count is asked less often.
            pause = max(silence.wait, min(took, _LONGEST_PAUSE_SECONDS))
            self._pause(pause)
            silence.after(pause)

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
        if self._rules.early_stop.watches:
            told_at_once(self._api, name, trouble)
        if self._rules.fail_fast:
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
        pages = self._api.pages(
            "/jobs", status=status, fields=_READ, **reference
        )
        return list(pages)

    def _reference(self) -> dict[str, str]:
        return self._requests.listed_by

    def _take(self, jobs: Sequence[Json], *, is_news: bool = True) -> None:
        """Write down what is ours among these ended jobs."""
        mine = [job for job in jobs if job["jobId"] in self._progress.open]
        if not mine:
            return
        items = [self._progress.open.pop(job["jobId"]) for job in mine]
        rows = [row_of(i, job) for i, job in zip(items, mine, strict=True)]
        self._results.write(rows)
        for item, row in zip(items, rows, strict=True):
            self._count(item, row)
        # What has been written down need not be listed again.
        new = [job["jobId"] for job in mine if job["status"] == PROCESSED]
        self._change(new, "CONSUMED")
        if is_news:
            self._rules.early_stop.note(rows)

    def _count(self, item: Item, row: Row) -> None:
        self._tally = self._tally.with_row(row)
        if row["status"] != PROCESSED:
            self._progress.failures.append(row)
        if self._rules.spending is not None:
            self._rules.spending.end(item)
            self._rules.spending.spend(row_cost(row))

    def _change(self, job_ids: Sequence[str], status: str) -> None:
        if not job_ids:
            return
        changes = [{"jobId": i, "status": status} for i in job_ids]
        try:
            self._api.patch("/jobs/batch", {"jobs": changes}, fields="status")
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
