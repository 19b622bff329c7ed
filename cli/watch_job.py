"""Tells the story of one job, from its question to its answer."""

import json
from collections.abc import Iterator

from rich.console import Console

from cli.errors import CommandError
from cli.rest_client import Json, ServerRefusedError
from cli.service_access import service
from cli.terminal import one_line, printable, say
from cli.watch_jobs import why

_LONGEST = 2000
_NOT_FOUND = 404


def show_job(console: Console, job_id: str, *, server: str | None) -> None:
    """Print everything that is known of a job.

    Raises:
        CommandError: there is no such job.
    """
    if not job_id.isalnum():
        raise CommandError(f"{job_id!r} is no id of a job")
    with service(server) as user:
        try:
            job = user.get(f"/jobs/{job_id}")
        except ServerRefusedError as error:
            if error.status != _NOT_FOUND:
                raise
            raise CommandError(
                f"There is no job {job_id}; `metasync jobs` lists them"
            ) from None
    for line in story(job):
        say(console, line)


def story(job: Json) -> Iterator[str]:
    """Give the lines of a job's story, oldest first."""
    yield one_line(f"Job {job['jobId']}: {job['status']}")
    yield one_line(f"  operation {job['operation']}, model {job['model']}")
    yield from _asked(job)
    yield f"{job['_metadata']['createdAt']}  submitted"
    for each in job.get("attemptHistory") or ():
        times = f" ({each['times']} times)" if each["times"] > 1 else ""
        yield one_line(
            f"{each['at']}  attempt {each['attempt']}: {each['kind']}{times}: "
            f"{each['reason']}"
        )
    for each in job.get("unusableAnswers") or ():
        yield one_line(
            f"{each['at']}  {each['model']} gave an answer that cannot be "
            f"used: {each['errorType']}: {each['message']}"
        )
        yield from _text("    ", each["text"])
    if job.get("startedAt"):
        yield f"{job['startedAt']}  claimed by worker {job.get('workerId')}"
    if reason := why(job):
        is_over = job.get("errorData") is not None
        yield f"  {'failed' if is_over else 'waits'}: {reason}"
    yield from _ended(job)


def _asked(job: Json) -> Iterator[str]:
    if job.get("workingPrompts"):
        prompts = ", ".join(map(one_line, job["workingPrompts"]))
        yield f"  prompts {prompts}"
    for name in ("messages", "requestData", "embeddings"):
        if job.get(name) is not None:
            yield f"  {name}:"
            yield from _text("    ", json.dumps(job[name], ensure_ascii=False))


def _ended(job: Json) -> Iterator[str]:
    if job.get("finishedAt"):
        yield f"{job['finishedAt']}  ended"
    if job.get("answeredBy"):
        yield one_line(f"  answered by {job['answeredBy']}")
    if job.get("responseData") is not None:
        yield "  answer:"
        answer = json.dumps(job["responseData"], ensure_ascii=False)
        yield from _text("    ", answer)
    error = job.get("errorData") or {}
    if error.get("failedResponseData"):
        yield "  what the model said:"
        yield from _text("    ", str(error["failedResponseData"]))
    if metrics := job.get("processingMetrics"):
        yield f"  {_used(metrics)}"


def _used(metrics: Json) -> str:
    used = (
        f"{metrics.get('inputTokens', 0):,} tokens in, "
        f"{metrics.get('outputTokens', 0):,} out, "
        f"{metrics.get('duration', 0.0):.2f} s"
    )
    cost = metrics.get("totalCost")
    if cost is None:
        return f"{used}, cost not known"
    return f"{used}, {cost:g} {one_line(str(metrics.get('currency') or ''))}"


def _text(indent: str, text: str) -> Iterator[str]:
    shown = printable(text)
    for line in shown[:_LONGEST].splitlines():
        yield indent + line
    if len(shown) > _LONGEST:
        yield f"{indent}... ({len(shown):,} characters)"
