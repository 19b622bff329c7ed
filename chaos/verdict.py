"""Whether anything was lost or done twice, and what it cost."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from chaos.recorder import Json, errors_of
from chaos.stage import Stage
from utilities import payload

_MAX_ATTEMPTS = 5
_SHOWN = 5


@dataclass
class Verdict:
    """Rows of a table, and the invariants that were broken."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def row(self, name: str, value: object) -> None:
        """Add a row."""
        self.rows.append((name, str(value)))

    def must(self, name: str, wrong: list[str]) -> None:
        """Add an invariant, with what breaks it."""
        self.row(name, "yes" if not wrong else f"NO: {len(wrong)}")
        self.broken += [f"{name}: {each}" for each in wrong[:_SHOWN]]

    def table(self) -> str:
        """Return the rows as a table."""
        width = max(len(name) for name, _ in self.rows)
        lines = [f"| {name:<{width}} | {value}" for name, value in self.rows]
        return "\n".join([*lines, *(f"BROKEN {each}" for each in self.broken)])


def judge(
    stage: Stage, repeated: int, statuses: dict[str, int], seconds: float
) -> Verdict:
    """Look at everything that is left."""
    verdict, jobs = Verdict(), stage.recorder.everything()
    _tell(verdict, stage, repeated, seconds)
    _tell_jobs(verdict, stage, jobs)
    _tell_calls(verdict, stage.simulator.stats(), jobs)
    _check_jobs(verdict, stage, jobs)
    verdict.must(
        "processes ended as told",
        [f"{name}: {code}" for name, code in statuses.items() if code],
    )
    verdict.must("no answer is left in a spool", _left_in_spools(stage))
    return verdict


def _tell(
    verdict: Verdict, stage: Stage, repeated: int, seconds: float
) -> None:
    verdict.row("seed", stage.plan.seed)
    verdict.row("seconds", f"{seconds:.0f}")
    clocks = ", ".join(f"{shift:+g} s" for shift in stage.plan.clocks)
    verdict.row("clocks of the machines", clocks)
    for fault, count in sorted(stage.struck.items()):
        verdict.row(f"fault: {fault}", count)
    verdict.row("batches submitted again", repeated)


def _tell_jobs(verdict: Verdict, stage: Stage, jobs: list[Json]) -> None:
    for status, count in sorted(Counter(j["status"] for j in jobs).items()):
        verdict.row(f"jobs {status}", count)
    for kind, count in sorted(errors_of(jobs).items()):
        verdict.row(f"error {kind}", count)
    attempts = Counter(job["attempts"] for job in jobs)
    shown = ", ".join(f"{n}: {attempts[n]}" for n in sorted(attempts))
    verdict.row("jobs by attempts", shown)
    kinds: Counter[str] = Counter()
    for job in jobs:
        for each in _history(job):
            kinds[each["kind"]] += each["times"]
    for kind, count in sorted(kinds.items()):
        verdict.row(f"tries {kind}", count)
    verdict.row("late answers taken", stage.recorder.late_answers)


def _tell_calls(
    verdict: Verdict, stats: dict[str, Any], jobs: list[Json]
) -> None:
    answers = stats["answers"]
    verdict.row("calls to the provider", stats["requests"])
    for kind, count in sorted(answers.items()):
        verdict.row(f"calls: {kind}", count)
    verdict.row("calls: caller gone", stats["disconnected"])
    verdict.row("calls made twice, known by their keys", stats["duplicates"])
    for why, count in sorted(_why_twice(stats, jobs).items()):
        verdict.row(f"calls made twice: {why}", count)
    done = sum(job["status"] == "PROCESSED" for job in jobs)
    lost = answers.get("ok", 0) - done
    verdict.row("whole answers that were not stored", lost)


def _why_twice(stats: dict[str, Any], jobs: list[Json]) -> Counter[str]:
    """Tell how the attempts ended that had made those calls before."""
    by_id = {str(job["_id"]): job for job in jobs}
    why: Counter[str] = Counter()
    for key, times in stats["duplicated_keys"].items():
        job = by_id.get(key.split("-")[1])
        kinds = {each["kind"] for each in _history(job)} if job else {"LOST"}
        why[", ".join(sorted(kinds)) or "no attempt ended"] += times
    return why


def _check_jobs(verdict: Verdict, stage: Stage, jobs: list[Json]) -> None:
    numbers = Counter(_number(job) for job in jobs)
    wanted = range(stage.plan.jobs)
    verdict.must(
        "every job is there", [str(n) for n in wanted if n not in numbers]
    )
    verdict.must(
        "none is there twice",
        [str(n) for n, count in numbers.items() if count > 1],
    )
    verdict.must(
        "every job has ended", [_shown(j) for j in jobs if not _ended(j)]
    )
    verdict.must(
        "every answer is its own job's",
        [_shown(j) for j in jobs if not _answered_right(j)],
    )
    verdict.must("no result changed", stage.recorder.overwritten)
    verdict.must(
        "attempts kept to their limit",
        [_shown(j) for j in jobs if not 1 <= j["attempts"] <= _MAX_ATTEMPTS],
    )
    verdict.must(
        "every lost lease is in the history",
        [_shown(j) for j in jobs if not _history_is_whole(j)],
    )


def _left_in_spools(stage: Stage) -> list[str]:
    return [
        str(path)
        for machine in stage.machines
        for path in machine.data_dir.glob("spool/*/*.jsonl")
    ]


def _number(job: Json) -> int:
    return int(payload.load(job["requestData"])["n"])


def _ended(job: Json) -> bool:
    if job["status"] == "PROCESSED":
        return True
    failed = job["status"] == "ERROR_PROCESSING"
    return failed and bool(payload.load(job["errorData"]).get("errorType"))


def _answered_right(job: Json) -> bool:
    if job["status"] != "PROCESSED":
        return job.get("responseData") is None
    answer = payload.load(job["responseData"])
    return bool(answer["echo"] == payload.load(job["requestData"]))


def _history(job: Json) -> list[Json]:
    text = job.get("attemptHistory")
    return list(payload.load(text)) if text else []


def _history_is_whole(job: Json) -> bool:
    """Tell whether each attempt but the last has a record of its end."""
    told = {each["attempt"] for each in _history(job)}
    return told >= set(range(1, job["attempts"]))


def _shown(job: Json) -> str:
    return str({name: job.get(name) for name in _SHOWN_FIELDS})


_SHOWN_FIELDS = (
    "_id",
    "status",
    "attempts",
    "failures",
    "responseData",
    "errorData",
    "leaseProcess",
    "leaseExpiresAt",
    "attemptHistory",
)
