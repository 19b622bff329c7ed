from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cli.doctor.findings import Status
from cli.doctor.work import (
    JobFacts,
    WorkerFacts,
    check_waiting_jobs,
    check_workers,
)


def worker(
    *, running: bool = True, held: bool = True, **config: Any
) -> WorkerFacts:
    return WorkerFacts("c", running, held, config)


def job(**fields: Any) -> JobFacts:
    values: dict[str, Any] = {
        "client": "c",
        "model": "m",
        "operation": "o",
        "reference": {"team": 1},
    }
    return JobFacts(**{**values, **fields})


FITTING: dict[str, Any] = {
    "modelFilter": "m",
    "operationFilter": "o",
    "clientReferenceFilters": {"team": 1},
}


def test_a_worker_takes_what_all_its_filters_fit() -> None:
    assert worker().takes(job())
    assert worker(**FITTING).takes(job())
    for name, value in (
        ("modelFilter", "other"),
        ("operationFilter", "other"),
        ("clientReferenceFilters", {"team": 2}),
        ("clientReferenceFilters", {"absent": None}),
    ):
        assert not worker(**{**FITTING, name: value}).takes(job())
    assert not worker().takes(job(client="other"))


def test_workers_that_no_process_runs() -> None:
    assert check_workers([worker()]).status is Status.OK
    idle = check_workers([worker(held=False), worker()])
    assert idle.status is Status.WARN
    assert "no process runs 1" in idle.message
    stopped = check_workers([worker(running=False)])
    assert stopped.status is Status.WARN
    assert "0 running, 1 stopped" in stopped.message


def test_jobs_that_nobody_takes_are_named_by_kind() -> None:
    jobs = [job(), *[job(operation="late")] * 2]
    only = worker(operationFilter="o")
    (finding,) = check_waiting_jobs(jobs, [only])
    assert finding.status is Status.FAIL
    assert "3 waiting; no running worker takes 2" in finding.message
    assert "'late'" in finding.message
    (finding,) = check_waiting_jobs(jobs, [only, worker()])
    assert finding.status is Status.OK


def test_many_kinds_are_cut() -> None:
    jobs = [job(operation=f"o{n}") for n in range(10)]
    findings = list(check_waiting_jobs(jobs, []))
    assert len(findings) == 4
    assert "7 more kinds" in findings[-1].message


@given(st.lists(st.booleans(), max_size=5), st.integers(0, 5))
def test_it_fails_just_when_a_job_has_no_running_worker(
    running: list[bool], jobs: int
) -> None:
    workers = [worker(running=each) for each in running]
    findings = check_waiting_jobs([job()] * jobs, workers)
    failed = any(finding.status is Status.FAIL for finding in findings)
    assert failed == (jobs > 0 and not any(running))
