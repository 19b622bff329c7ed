"""Whether somebody will do the jobs that wait."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.doctor.findings import Finding, fail, ok, warn

# Jobs are looked at in this number at most, the oldest first.
SAMPLE = 500
_KINDS_SHOWN = 3
_START = "Start one: POST /workers/{id}/start"


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A worker as far as it decides who does a job.

    `held` says whether some process runs it now.
    """

    client: str
    running: bool
    held: bool
    config: Mapping[str, Any]

    @classmethod
    def from_json(cls, worker: Mapping[str, Any]) -> "WorkerFacts":
        """Read a worker as the API lists it."""
        info = worker.get("threadInfo") or {}
        return cls(
            worker["clientId"],
            worker["status"] == "running",
            bool(info.get("threads")),
            worker["config"],
        )

    def takes(self, job: "JobFacts") -> bool:
        """Tell whether its filters let a job through."""
        config = self.config
        wanted = config.get("clientReferenceFilters") or {}
        return (
            self.client == job.client
            and config.get("modelFilter") in (None, job.model)
            and config.get("operationFilter") in (None, job.operation)
            and all(
                name in job.reference and job.reference[name] == value
                for name, value in wanted.items()
            )
        )


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A waiting job as far as it decides who does it."""

    client: str
    model: str
    operation: str
    reference: Mapping[str, Any]

    @classmethod
    def from_json(cls, job: Mapping[str, Any]) -> "JobFacts":
        """Read a job as the API lists it."""
        reference = job.get("clientReference") or {}
        return cls(job["clientId"], job["model"], job["operation"], reference)


def check_workers(workers: Sequence[WorkerFacts]) -> Finding:
    """Check that running workers are run by some process."""
    running = [worker for worker in workers if worker.running]
    counts = f"{len(running)} running, {len(workers) - len(running)} stopped"
    idle = sum(not worker.held for worker in running)
    if idle:
        return warn(
            "workers",
            f"{counts}; no process runs {idle} of the running ones",
            "Start `metasync serve` or more `metasync worker` processes, or "
            "raise NUM_LLM_WORKERS",
        )
    if not running:
        return warn("workers", f"{counts}: no job will be done", _START)
    return ok("workers", counts)


def check_waiting_jobs(
    jobs: Sequence[JobFacts], workers: Sequence[WorkerFacts]
) -> Iterator[Finding]:
    """Check that the filters of running workers fit the waiting jobs."""
    if not jobs:
        yield ok("jobs", "none waits")
        return
    some = "the first " if len(jobs) == SAMPLE else ""
    count = f"{some}{len(jobs)} waiting"
    running = [worker for worker in workers if worker.running]
    left = Counter(
        (job.client, job.model, job.operation)
        for job in jobs
        if not any(worker.takes(job) for worker in running)
    )
    if not left:
        yield ok("jobs", f"{count}; running workers take them all")
        return
    for (client, model, operation), number in left.most_common(_KINDS_SHOWN):
        yield fail(
            "jobs",
            f"{count}; no running worker takes {number} of client {client} "
            f"with the model {model!r} and the operation {operation!r}",
            f"{_START}; or change its filters to fit",
        )
    if len(left) > _KINDS_SHOWN:
        yield fail(
            "jobs",
            f"and {len(left) - _KINDS_SHOWN} more kinds of jobs",
            "Fix the first ones, then run the doctor again",
        )
