"""What the Python client does with a server that fails, on real sockets."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from metasync import (
    AsyncMetasync,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InvalidRequestError,
    Metasync,
    MetasyncError,
    NoAnswerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    StatusError,
    TooLargeError,
)
from tests.support.echo_provider import EchoProvider

KEY = "the-secret-key"
TOKEN = f"client:{KEY}"
JOB = {"jobId": "1", "status": "PENDING"}
Answer = Callable[[], web.StreamResponse]


def client(echo: EchoProvider, **options: Any) -> Metasync:
    return Metasync(echo.url, TOKEN, **{"retry_seconds": 5.0, **options})


def answering(echo: EchoProvider, *answers: Answer) -> None:
    """Give these answers, one after the other, and then the last one."""
    left = list(answers)

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is broken:
            assert request.transport is not None
            request.transport.abort()
        return answer()

    echo.handler = handler


def job() -> web.Response:
    return web.json_response(JOB)


def refusal(
    status: int, detail: Any = "no", **headers: str
) -> Callable[[], web.Response]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: web.json_response(
        {"detail": detail}, status=status, headers=names
    )


def broken() -> web.Response:
    """Stand for a connection that breaks before the answer."""
    return web.Response()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_repeated(echo: EchoProvider, status: int) -> None:
    answering(echo, refusal(status), refusal(status), job)
    with client(echo) as user:
        assert user.jobs.get("1").job_id == "1"
    assert len(echo.seen) == 3


def test_the_server_says_when(echo: EchoProvider) -> None:
    answering(echo, refusal(429, Retry_After="1"), job)
    began = time.monotonic()
    with client(echo) as user:
        user.jobs.get("1")
    assert time.monotonic() - began >= 1
    # What would take longer than allowed is said at once.
    answering(echo, refusal(429, Retry_After="60"))
    with client(echo) as user, pytest.raises(RateLimitedError) as error:
        user.jobs.get("1")
    assert error.value.retry_after == 60


def test_a_connection_that_breaks_is_made_anew(echo: EchoProvider) -> None:
    answering(echo, broken, broken, job)
    with client(echo) as user:
        assert user.jobs.get("1").job_id == "1"


def test_a_job_that_is_created_has_one_key_however_often_it_is_sent(
    echo: EchoProvider,
) -> None:
    answering(echo, broken, refusal(503), job)
    with client(echo) as user:
        user.jobs.create(operation="o", model="m", request_data={"a": 1})
        user.jobs.create(operation="o", model="m", idempotency_key="mine")
    keys = [each.all("idempotency-key") for each in echo.seen]
    assert keys[0] == keys[1] == keys[2] != keys[3] == ["mine"]
    assert json.loads(echo.seen[0].body) == {
        "operation": "o",
        "model": "m",
        "requestData": {"a": 1},
    }


def test_what_may_be_done_once_only_is_not_repeated(
    echo: EchoProvider,
) -> None:
    # Control for the test above: a POST without a key.
    answering(echo, broken)
    with client(echo) as user, pytest.raises(NoAnswerError):
        user.prompts.create("name", "text")
    answering(echo, refusal(503))
    with client(echo) as user, pytest.raises(ServerError):
        user.prompts.create("name", "text")
    assert len(echo.seen) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, TooLargeError),
        (418, StatusError),
        (500, ServerError),
    ],
)
def test_a_refusal_names_its_cause(
    echo: EchoProvider, status: int, kind: type[StatusError]
) -> None:
    detail = f"it is {KEY} that is wrong"
    answering(echo, refusal(status, detail, X_Correlation_ID="c-1"))
    with client(echo) as user, pytest.raises(StatusError) as found:
        user.jobs.get("1")
    error = found.value
    assert type(error) is kind
    assert (error.status, error.correlation_id) == (status, "c-1")
    assert error.request == "GET /jobs/1"
    assert str(error) == (
        f"The server answered {status} to GET /jobs/1: it is *** that is "
        "wrong (X-Correlation-ID: c-1)"
    )
    assert len(echo.seen) == 1


def test_fields_that_are_wrong_are_named(echo: EchoProvider) -> None:
    item = {"loc": ["body", "jobs", 3], "msg": f"bad {KEY}", "type": "t"}
    answering(echo, refusal(422, [item, "odd"]))
    with client(echo) as user, pytest.raises(InvalidRequestError) as found:
        user.jobs.create(operation="o", model="m")
    first, second = found.value.fields
    assert (first.path, first.type) == ("body.jobs.3", "t")
    assert str(first) == "body.jobs.3: bad ***"
    assert str(second) == "odd"
    assert KEY not in repr(found.value)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"detail": 7}', b"\xff" * 9999]
)
def test_refusals_of_any_form_are_errors(
    echo: EchoProvider, body: bytes
) -> None:
    answering(echo, lambda: web.Response(body=body, status=400))
    with client(echo) as user, pytest.raises(BadRequestError) as found:
        user.jobs.get("1")
    assert 0 < len(str(found.value)) < 3000


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"x": 1}'])
def test_an_answer_that_is_no_metasyncs_is_an_error(
    echo: EchoProvider, body: bytes
) -> None:
    answering(echo, lambda: web.Response(body=body))
    with client(echo) as user, pytest.raises(MetasyncError, match="Is it"):
        user.jobs.get("1")


def test_an_answer_that_cannot_be_decoded_is_an_error(
    echo: EchoProvider,
) -> None:
    headers = {"Content-Encoding": "gzip"}
    answering(echo, lambda: web.Response(body=b"no gzip", headers=headers))
    with client(echo) as user, pytest.raises(NoAnswerError, match="Decoding"):
        user.jobs.get("1")


def test_a_client_that_was_closed_can_be_used_again(
    echo: EchoProvider,
) -> None:
    answering(echo, job)
    user = client(echo)
    for _ in range(2):
        assert user.jobs.get("1").job_id == "1"
        user.close()


def test_a_redirect_takes_the_key_nowhere(echo: EchoProvider) -> None:
    target = f"{echo.url}/elsewhere"
    answering(echo, refusal(307, Location=target))
    with client(echo) as user, pytest.raises(StatusError):
        user.jobs.get("1")
    assert [each.target for each in echo.seen] == ["/jobs/1"]


def test_nobody_answers() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        began = time.monotonic()
        with (
            Metasync(url, TOKEN, retry_seconds=1) as user,
            pytest.raises(NoAnswerError, match=url),
        ):
            user.jobs.get("1")
        assert time.monotonic() - began < 5


def test_a_server_that_is_silent_is_left(echo: EchoProvider) -> None:
    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        raise AssertionError

    echo.handler = silent
    options = {"timeout": 0.2, "retry_seconds": 0}
    with client(echo, **options) as user, pytest.raises(NoAnswerError):
        user.jobs.get("1")


def test_pages_are_read_to_the_end_or_as_far_as_wanted(
    echo: EchoProvider,
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        at = int(request.query.get("cursor", 0))
        size = min(int(request.query["limit"]), 2)
        items = [{"jobId": str(n)} for n in range(at, min(at + size, 5))]
        last = at + size >= 5
        headers = {} if last else {"X-Next-Cursor": str(at + size)}
        return web.json_response(items, headers=headers)

    echo.handler = handler
    with client(echo) as user:
        found = [job.job_id for job in user.jobs.list()]
        assert found == ["0", "1", "2", "3", "4"]
        found = [job.job_id for job in user.jobs.list(limit=3)]
        assert found == ["0", "1", "2"]
        assert list(user.jobs.list(limit=0)) == []
    sizes = [each.target for each in echo.seen]
    assert "limit=3" in sizes[3]
    assert "limit=1" in sizes[4]

    async def program() -> list[str]:
        async with AsyncMetasync(echo.url, TOKEN) as user:
            return [job.job_id async for job in user.jobs.list()]

    assert asyncio.run(program()) == ["0", "1", "2", "3", "4"]


def test_many_at_once_with_an_event_loop(echo: EchoProvider) -> None:
    answering(echo, job)

    async def program() -> int:
        async with AsyncMetasync(echo.url, TOKEN) as user:
            found = await asyncio.gather(
                *(user.jobs.get("1") for _ in range(50))
            )
            return len(found)

    assert asyncio.run(program()) == 50
