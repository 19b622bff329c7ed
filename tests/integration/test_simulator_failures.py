"""The simulator's failures and limits, over real sockets."""

import asyncio
import json
import re
from collections.abc import Iterator

import httpx2
import pytest

from tests.support.simulator_calls import (
    ANTHROPIC,
    CALLS,
    CHAT,
    CLAUDE,
    OPENAI,
    Json,
    raw,
    streamed,
)
from tests.support.waiting import eventually
from utilities.provider_simulator.running import Simulator, running_simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture
def http(simulator: Simulator) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=simulator.url, timeout=20) as client:
        yield client


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_a_connection_that_breaks(
    simulator: Simulator, http: httpx2.Client, path: str, body: Json
) -> None:
    simulator.configure(failures={"reset": 1})
    with pytest.raises(httpx2.ReadError):
        http.post(path, json=body)


def test_it_breaks_with_a_tcp_reset(simulator: Simulator) -> None:
    simulator.configure(failures={"reset": 1})
    with (
        raw(simulator, "GET /msg HTTP/1.1\r\n\r\n") as connection,
        pytest.raises(ConnectionResetError),
    ):
        connection.recv(1)


@pytest.mark.parametrize("stream", [True, False])
def test_a_body_that_ends_early(
    simulator: Simulator, http: httpx2.Client, *, stream: bool
) -> None:
    simulator.configure(failures={"truncated": 1})
    with pytest.raises(httpx2.RemoteProtocolError):
        http.post(OPENAI, json={**CHAT, "stream": stream})


@pytest.mark.parametrize("stream", [True, False])
def test_a_body_that_is_no_json(
    simulator: Simulator, http: httpx2.Client, *, stream: bool
) -> None:
    simulator.configure(failures={"invalid_json": 1})
    response = http.post(OPENAI, json={**CHAT, "stream": stream})
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        _ = streamed(response) if stream else response.json()


def test_a_call_that_hangs_until_the_caller_goes(
    simulator: Simulator, http: httpx2.Client
) -> None:
    simulator.configure(failures={"hang": 1}, time_limit_ms=1)
    with pytest.raises(httpx2.ReadTimeout):
        http.post(OPENAI, json=CHAT, timeout=0.2)
    eventually(lambda: simulator.stats()["disconnected"] == 1)
    assert simulator.stats()["open"] == 0


def test_an_error_in_the_middle_of_a_stream(
    simulator: Simulator, http: httpx2.Client
) -> None:
    simulator.configure(failures={"stream_error": 1})
    events = streamed(http.post(OPENAI, json={**CHAT, "stream": True}))
    assert "error" in events[-1]
    events = streamed(http.post(ANTHROPIC, json={**CLAUDE, "stream": True}))
    assert events[-1]["type"] == "error"
    assert http.post(OPENAI, json=CHAT).status_code == 500


def test_failures_by_count(simulator: Simulator, http: httpx2.Client) -> None:
    status = http.post("/fail/count/2").json()
    assert status["count_remaining"] == 2
    for path, body in CALLS[:2]:
        response = http.post(path, json=body)
        assert response.status_code == 500
        assert response.json() == {"detail": "Induced server failure"}
    assert http.get("/msg").status_code == 200
    assert http.get("/fail/status").json()["failing"] is False
    assert simulator.stats()["answers"]["induced_failure"] == 2


def test_failures_by_duration(http: httpx2.Client) -> None:
    status = http.post("/fail/duration/3600").json()
    assert 3590 < status["duration_remaining_seconds"] <= 3600
    assert http.get("/msg").status_code == 500
    assert http.get("/health").status_code == 200
    http.post("/fail/reset")
    assert http.get("/msg").status_code == 200


def test_a_failure_comes_before_the_idempotency_cache(
    http: httpx2.Client,
) -> None:
    key = {"X-Request-ID": "k"}
    first = http.get("/msg", headers=key).json()
    http.post("/fail/count/1")
    assert http.get("/msg", headers=key).status_code == 500
    assert http.get("/msg", headers=key).json() == first


@pytest.mark.parametrize(
    "path",
    [
        "/fail/count/-1",
        "/fail/count/1001",
        "/fail/count/1.5",
        "/fail/duration/3601",
        "/fail/duration/nan",
        "/fail/duration/x",
    ],
)
def test_failures_out_of_range(http: httpx2.Client, path: str) -> None:
    assert http.post(path).status_code == 422
    assert http.get("/fail/status").json()["failing"] is False


@pytest.mark.parametrize("path", ["/fail/count/1000", "/fail/duration/3600"])
def test_failures_just_in_range(http: httpx2.Client, path: str) -> None:
    assert http.post(path).status_code == 200


# Messages and idempotency.


def test_messages_have_ids_of_their_own(http: httpx2.Client) -> None:
    first, second = (http.get("/msg?delay=0").json() for _ in range(2))
    assert re.fullmatch(r"[0-9a-f-]{36}", first["message_id"])
    assert first != second


@pytest.mark.parametrize("delay", ["-1", "30001", "x", "1.5"])
def test_delays_out_of_range(http: httpx2.Client, delay: str) -> None:
    assert http.get(f"/msg?delay={delay}").status_code == 422


@pytest.mark.parametrize("header", ["X-Request-ID", "Idempotency-Key"])
def test_the_same_key_has_the_same_answer(
    simulator: Simulator, http: httpx2.Client, header: str
) -> None:
    key = {header: "k"}
    first, second = (http.get("/msg", headers=key).json() for _ in range(2))
    assert first == second
    for path, body in CALLS:
        first, second = (
            http.post(path, json=body, headers=key).json() for _ in range(2)
        )
        assert first == second
    assert simulator.stats()["duplicates"] == 1 + len(CALLS)
    assert simulator.stats()["duplicated_keys"] == {"k": 1 + len(CALLS)}


async def test_the_same_key_while_the_first_still_runs(
    simulator: Simulator,
) -> None:
    async with httpx2.AsyncClient(base_url=simulator.url) as client:
        key = {"X-Request-ID": "k"}
        answers = await asyncio.gather(
            *(client.get("/msg?delay=100", headers=key) for _ in range(5))
        )
    assert len({answer.text for answer in answers}) == 1
    assert simulator.stats()["duplicates"] == 4


def test_an_answer_that_got_lost_is_there_for_the_next_try(
    simulator: Simulator, http: httpx2.Client
) -> None:
    simulator.script({"failure": "reset", "times": 1})
    key = {"Idempotency-Key": "k"}
    with pytest.raises(httpx2.ReadError):
        http.post(OPENAI, json=CHAT, headers=key)
    assert http.post(OPENAI, json=CHAT, headers=key).status_code == 200
    assert simulator.stats()["duplicates"] == 1


def test_a_key_is_forgotten_in_time(
    simulator: Simulator, http: httpx2.Client
) -> None:
    simulator.configure(idempotency_seconds=0)
    key = {"X-Request-ID": "k"}
    first, second = (http.get("/msg", headers=key).json() for _ in range(2))
    assert first != second


# Limits.


async def test_a_limit_of_calls_at_once(simulator: Simulator) -> None:
    simulator.configure(concurrency_limit=2, latency_ms=20)
    async with httpx2.AsyncClient(base_url=simulator.url) as client:
        answers = await asyncio.gather(
            *(client.post(OPENAI, json=CHAT) for _ in range(6))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert simulator.stats()["concurrent_max"] == 2
    assert simulator.stats()["open_max"] > 2


def test_a_limit_of_calls_a_minute(
    simulator: Simulator, http: httpx2.Client
) -> None:
    simulator.configure(requests_per_minute=2)
    first = http.post(OPENAI, json=CHAT)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    second = http.post(ANTHROPIC, json=CLAUDE)
    assert second.headers["anthropic-ratelimit-requests-remaining"] == "0"
    third = http.get("/msg")
    assert third.status_code == 429
    assert 50 < int(third.headers["retry-after"]) <= 60
    assert http.get("/health").status_code == 200


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_a_limit_of_time(
    simulator: Simulator, http: httpx2.Client, path: str, body: Json
) -> None:
    simulator.configure(time_limit_ms=10, latency_ms=60_000)
    assert http.post(path, json=body).status_code == 408
    eventually(lambda: simulator.stats()["concurrent"] == 0)
