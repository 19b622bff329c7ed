"""Checks of a running service, over its REST interface."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from cli.doctor.findings import Finding, Status, fail, ok, warn
from cli.doctor.work import (
    SAMPLE,
    JobFacts,
    WorkerFacts,
    check_waiting_jobs,
    check_workers,
)
from cli.errors import CommandError
from cli.rest_client import LOOPBACK, RestClient, ServerRefusedError
from utilities import payload

_SECONDS = 10.0
# What a `Date` header can tell: it has whole seconds.
_CLOCK_SECONDS = 5.0
_CALLS_AT_ONCE = 4
_CLIENT = "metasync-doctor"
_QUESTION = "Answer with the one word OK."
_BROKEN = "[Error: "


def is_metasync(url: str) -> bool:
    """Tell whether a Metasync answers there."""
    try:
        answer = _get(url, "/health").json()
        return str(answer["service"]).startswith("metasync")
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return False
    except (ValueError, LookupError, TypeError):
        return False


def check_service(
    url: str, admin_key: str, *, call_seconds: float | None
) -> Iterator[Finding]:
    """Check a service that answers at `url`, by what it says itself.

    Each model gets a call through the service, with the service's own
    keys; `call_seconds` None makes none.
    """
    try:
        readiness = list(_check_readiness(url))
        yield from readiness
        if any(finding.status is Status.FAIL for finding in readiness):
            return
        with RestClient(url, {"admin-api-key": admin_key}) as admin:
            yield from _check_work(admin)
            yield from check_models(admin, call_seconds)
    except ServerRefusedError as error:
        unauthorized = error.status == httpx2.codes.UNAUTHORIZED
        remedy = "Read the service's log"
        if unauthorized:
            remedy = "Set ADMIN_API_KEY to the key of that service"
        yield fail("service", str(error), remedy)
    except (CommandError, httpx2.HTTPError) as error:
        yield fail("service", str(error), "Read the service's log")


def _get(url: str, path: str) -> httpx2.Response:
    local = httpx2.URL(url).host in LOOPBACK
    with httpx2.Client(
        base_url=url, timeout=_SECONDS, trust_env=not local
    ) as http:
        return http.get(path)


def _check_readiness(url: str) -> Iterator[Finding]:
    response = _get(url, "/health/ready")
    yield _clock(response)
    try:
        body = response.json()
        checks = body["checks"].items()
    except (ValueError, LookupError, AttributeError):
        yield fail("service", f"{url} gives no readiness", "Check the address")
        return
    if body.get("status") == "ready":
        yield ok("service", f"{url} is ready; its database answers")
        return
    bad = [f"{name}: {check}" for name, check in checks]
    yield fail(
        "service",
        f"{url} is not ready ({'; '.join(bad)})",
        "A first start may take 20 s; then read the service's log",
    )


def _clock(response: httpx2.Response) -> Finding:
    try:
        theirs = parsedate_to_datetime(response.headers["date"])
    except (LookupError, ValueError):
        return ok("clock", "the service does not give its time")
    seconds = (theirs - datetime.now(UTC)).total_seconds()
    if abs(seconds) > _CLOCK_SECONDS:
        return warn(
            "clock",
            f"the service's clock differs from this machine's by "
            f"{seconds:+.0f} s",
            "Set both by NTP",
        )
    return ok("clock", "the service's clock is this machine's")


def _check_work(admin: RestClient) -> Iterator[Finding]:
    workers = [WorkerFacts.from_json(w) for w in admin.pages("/workers")]
    jobs = admin.get("/jobs", status="PENDING", limit=SAMPLE)
    yield check_workers(workers)
    yield from check_waiting_jobs(
        [JobFacts.from_json(job) for job in jobs], workers
    )


def check_models(
    admin: RestClient, call_seconds: float | None, only: str | None = None
) -> Iterator[Finding]:
    """Call all models, or only one, through the service."""
    models = [
        model
        for model in admin.pages("/models")
        if only in {None, model["name"]}
    ]
    if not models:
        yield warn("models", "there is none", "Make one: POST /models")
        return
    if call_seconds is None:
        names = ", ".join(sorted(model["name"] for model in models))
        yield ok("models", f"not called: {names}")
        return
    with (
        _temporary_client(admin) as headers,
        ThreadPoolExecutor(_CALLS_AT_ONCE) as threads,
    ):
        calls = [
            threads.submit(
                _call, admin.base_url, headers, model["name"], call_seconds
            )
            for model in models
        ]
        for call in calls:
            yield call.result()


@contextmanager
def _temporary_client(admin: RestClient) -> Iterator[dict[str, str]]:
    client = admin.post("/clients", {"name": _CLIENT})
    try:
        yield {
            "client-id": client["clientId"],
            "client-api-key": client["api_key"],
        }
    finally:
        admin.delete(f"/clients/{client['clientId']}")


def _call(
    url: str, headers: dict[str, str], model: str, seconds: float
) -> Finding:
    check = f"model {model}"
    started = time.monotonic()
    try:
        answer = _stream(url, headers, model, seconds)
    except httpx2.TimeoutException:
        return fail(
            check,
            f"no answer within {seconds:g} s",
            "Try again with a longer --call-seconds, or check its endpoint",
        )
    except httpx2.HTTPError as error:
        return fail(check, str(error), "Read the service's log")
    took = time.monotonic() - started
    if problem := _problem(answer):
        return fail(check, problem, "Correct it: PATCH /models/{id}")
    return ok(check, f"answered within {took:.2f} s")


def _stream(
    url: str, headers: dict[str, str], model: str, seconds: float
) -> tuple[int, str]:
    local = httpx2.URL(url).host in LOOPBACK
    body = {"userPrompt": _QUESTION, "model": model, "temperature": 0}
    deadline = time.monotonic() + seconds
    with (
        httpx2.Client(
            base_url=url, headers=headers, timeout=seconds, trust_env=not local
        ) as http,
        http.stream("POST", "/stream", json=body) as response,
    ):
        pieces = []
        for piece in response.iter_text():
            pieces.append(piece)
            if time.monotonic() > deadline:
                break
        return response.status_code, "".join(pieces)


def _problem(answer: tuple[int, str]) -> str | None:
    status, text = answer
    if status == httpx2.codes.OK:
        _, broken, words = text.rpartition(_BROKEN)
        return words.removesuffix("]") if broken else None
    return f"HTTP {status}: {_detail(text)}"


def _detail(text: str) -> str:
    try:
        return str(payload.load(text)["detail"])
    except (ValueError, LookupError, TypeError):
        return text[:500]
