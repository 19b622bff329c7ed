"""One run: set up, submit, strike, heal, wait, judge."""

import time
from pathlib import Path

import httpx2

from chaos.plan import Plan
from chaos.stage import Stage, staged
from chaos.submission import Submission
from chaos.verdict import Verdict, judge
from tests.support.api_user import ApiUser
from tests.support.waiting import eventually

_LOOK_SECONDS = 1.0
# Faults between two looks at all results.
_LOOK_AFTER = 4
_TICK_SECONDS = 0.1


def run(plan: Plan, directory: Path) -> Verdict:
    """Do what the plan says; data and logs go to `directory`."""
    with staged(plan, directory) as stage:
        eventually(lambda: _is_up(stage.api_url), seconds=60, what="the API")
        with httpx2.Client(base_url=stage.api_url, timeout=20) as http:
            submission = _submission(stage, ApiUser(http))
            began = time.monotonic()
            submission.start()
            _torment(stage)
            stage.heal()
            _wait_for_the_end(stage)
            submission.join(_TICK_SECONDS)
            _wait_for_all_processes(stage)
        seconds = time.monotonic() - began
        statuses = {each.name: each.end() for each in stage.workers}
        return judge(stage, submission.repeated, statuses, seconds)


def _is_up(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health/ready").is_success
    except httpx2.TransportError:
        return False


def _submission(stage: Stage, user: ApiUser) -> Submission:
    plan = stage.plan
    model = user.model(
        sdk="OpenAI",
        endpoint=stage.simulator.base_urls["OpenAI"],
        key="PROVIDER-KEY",
        deployment="simulated",
        resilience={
            "timeout": {"total": 2, "read": 2, "connect": 1},
            "retry": {"minWait": 0.1, "maxWait": 2},
            "circuitBreaker": {"recoveryTimeout": 2},
        },
    )
    for _ in range(plan.workers):
        user.worker(
            pollInterval=1,
            maxItemsPerBatch=plan.concurrency,
            maxConcurrency=plan.concurrency,
        )
    body = user.job_body(model, user.prompt())
    return Submission(plan, user, body, lambda: stage.recorder.ended_jobs)


def _torment(stage: Stage) -> None:
    """Strike as the work gets on, so that every fault hits running jobs."""
    plan, faults = stage.plan, stage.plan.order()
    for number, fault in enumerate(faults, start=1):
        _let_pass(stage, plan.jobs * number // (len(faults) + 1))
        if number % _LOOK_AFTER == 0:
            stage.recorder.look()
        stage.strike(fault)


def _let_pass(stage: Stage, ended: int) -> None:
    """Wait until a number of jobs have ended, but not for ever."""
    deadline = time.monotonic() + stage.plan.longest_pause
    next_look = 0.0
    while time.monotonic() < deadline:
        stage.attend()
        if time.monotonic() >= next_look:
            if stage.recorder.count() >= ended:
                return
            next_look = time.monotonic() + _LOOK_SECONDS
        time.sleep(_TICK_SECONDS)


def _wait_for_all_processes(stage: Stage) -> None:
    """Wait until every process runs and has recovered the dead ones.

    One that is told to end while it starts would die of the signal, and
    leave what a dead process before it has left. One that was still ending
    when all faults were undone is started only now.
    """
    deadline = time.monotonic() + stage.plan.patience
    while time.monotonic() < deadline and not stage.is_settled:
        stage.heal()
        time.sleep(_LOOK_SECONDS)


def _wait_for_the_end(stage: Stage) -> None:
    deadline = time.monotonic() + stage.plan.patience
    while time.monotonic() < deadline:
        if stage.recorder.count() >= stage.plan.jobs:
            break
        time.sleep(_LOOK_SECONDS)
    stage.recorder.look()
    # Whoever still has an answer to a job that has ended: now or never.
    time.sleep(2 * _LOOK_SECONDS)
    stage.recorder.look()
