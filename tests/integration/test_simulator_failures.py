"""The simulator's failures and limits, over real sockets."""

import asyncio
import json
import re
import time

import httpx2
import pytest

from provider_simulator.running import Simulator
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


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_a_connection_that_breaks(
    simulator: Simulator, vendor: httpx2.Client, path: str, body: Json
) -> None:
    simulator.configure(failures={"reset": 1})
    with pytest.raises(httpx2.ReadError):
        vendor.post(path, json=body)


def test_it_breaks_with_a_tcp_reset(simulator: Simulator) -> None:
    simulator.configure(failures={"reset": 1})
    with (
        raw(simulator, "GET /msg HTTP/1.1\r\n\r\n") as connection,
        pytest.raises(ConnectionResetError),
    ):
        connection.recv(1)


@pytest.mark.parametrize("stream", [True, False])
def test_a_body_that_ends_early(
    simulator: Simulator, vendor: httpx2.Client, *, stream: bool
) -> None:
    simulator.configure(failures={"truncated": 1})
    with pytest.raises(httpx2.RemoteProtocolError):
        vendor.post(OPENAI, json={**CHAT, "stream": stream})


@pytest.mark.parametrize("stream", [True, False])
def test_a_body_that_is_no_json(
    simulator: Simulator, vendor: httpx2.Client, *, stream: bool
) -> None:
    simulator.configure(failures={"invalid_json": 1})
    response = vendor.post(OPENAI, json={**CHAT, "stream": stream})
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        _ = streamed(response) if stream else response.json()


def test_a_call_that_hangs_until_the_caller_goes(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    simulator.configure(failures={"hang": 1}, time_limit_ms=1)
    with pytest.raises(httpx2.ReadTimeout):
        vendor.post(OPENAI, json=CHAT, timeout=0.2)
    eventually(lambda: simulator.stats()["disconnected"] == 1)
    assert simulator.stats()["open"] == 0


def test_an_error_in_the_middle_of_a_stream(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    simulator.configure(failures={"stream_error": 1})
    events = streamed(vendor.post(OPENAI, json={**CHAT, "stream": True}))
    assert "error" in events[-1]
    events = streamed(vendor.post(ANTHROPIC, json={**CLAUDE, "stream": True}))
    assert events[-1]["type"] == "error"
    assert vendor.post(OPENAI, json=CHAT).status_code == 500


def test_failures_by_count(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    status = vendor.post("/fail/count/2").json()
    assert status["fail_requests_count"] == 2
    assert status["message"]
    for path, body in CALLS[:2]:
        response = vendor.post(path, json=body)
        assert response.status_code == 500
        assert response.json() == {"detail": "Induced server failure"}
    assert vendor.get("/msg").status_code == 200
    assert vendor.get("/fail/status").json()["failing"] is False
    assert simulator.stats()["answers"]["induced_failure"] == 2


def test_failures_by_duration(vendor: httpx2.Client) -> None:
    status = vendor.post("/fail/duration/3600").json()
    assert status["duration_seconds"] == 3600
    assert status["message"]
    assert 3590 < status["duration_remaining_seconds"] <= 3600
    assert vendor.get("/msg").status_code == 500
    assert vendor.get("/health").status_code == 200
    vendor.post("/fail/reset")
    assert vendor.get("/msg").status_code == 200


def test_a_failure_comes_before_the_idempotency_cache(
    vendor: httpx2.Client,
) -> None:
    key = {"X-Request-ID": "k"}
    first = vendor.get("/msg", headers=key).json()
    vendor.post("/fail/count/1")
    assert vendor.get("/msg", headers=key).status_code == 500
    assert vendor.get("/msg", headers=key).json() == first


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
def test_failures_out_of_range(vendor: httpx2.Client, path: str) -> None:
    assert vendor.post(path).status_code == 422
    assert vendor.get("/fail/status").json()["failing"] is False


@pytest.mark.parametrize("path", ["/fail/count/1000", "/fail/duration/3600"])
def test_failures_just_in_range(vendor: httpx2.Client, path: str) -> None:
    assert vendor.post(path).status_code == 200


# Messages and idempotency.


def test_messages_have_ids_of_their_own(vendor: httpx2.Client) -> None:
    first, second = (vendor.get("/msg?delay=0").json() for _ in range(2))
    assert re.fullmatch(r"[0-9a-f-]{36}", first["message_id"])
    assert first != second


@pytest.mark.parametrize("delay", ["-1", "30001", "x", "1.5"])
def test_delays_out_of_range(vendor: httpx2.Client, delay: str) -> None:
    assert vendor.get(f"/msg?delay={delay}").status_code == 422


@pytest.mark.parametrize("header", ["X-Request-ID", "Idempotency-Key"])
def test_the_same_key_has_the_same_answer(
    simulator: Simulator, vendor: httpx2.Client, header: str
) -> None:
    key = {header: "k"}
    first, second = (vendor.get("/msg", headers=key).json() for _ in range(2))
    assert first == second
    for path, body in CALLS:
        first, second = (
            vendor.post(path, json=body, headers=key).json() for _ in range(2)
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
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    simulator.script({"failure": "reset", "times": 1})
    key = {"Idempotency-Key": "k"}
    with pytest.raises(httpx2.ReadError):
        vendor.post(OPENAI, json=CHAT, headers=key)
    assert vendor.post(OPENAI, json=CHAT, headers=key).status_code == 200
    assert simulator.stats()["duplicates"] == 1


def test_an_error_is_not_kept(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    simulator.script({"status": 503, "times": 1})
    key = {"Idempotency-Key": "k"}
    statuses = [
        vendor.post(OPENAI, json=CHAT, headers=key).status_code
        for _ in range(2)
    ]
    assert statuses == [503, 200]
    assert simulator.stats()["duplicates"] == 0


def test_a_key_is_forgotten_in_time(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    simulator.configure(idempotency_seconds=0)
    key = {"X-Request-ID": "k"}
    first, second = (vendor.get("/msg", headers=key).json() for _ in range(2))
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
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    simulator.configure(requests_per_minute=2)
    first = vendor.post(OPENAI, json=CHAT)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    second = vendor.post(ANTHROPIC, json=CLAUDE)
    assert second.headers["anthropic-ratelimit-requests-remaining"] == "0"
    third = vendor.get("/msg")
    assert third.status_code == 429
    assert 50 < int(third.headers["retry-after"]) <= 60
    assert vendor.get("/health").status_code == 200


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_a_limit_of_time(
    simulator: Simulator, vendor: httpx2.Client, path: str, body: Json
) -> None:
    simulator.configure(time_limit_ms=10, latency_ms=60_000)
    assert vendor.post(path, json=body).status_code == 408
    eventually(lambda: simulator.stats()["concurrent"] == 0)


def test_what_is_switched_on_has_a_fixed_shape(vendor: httpx2.Client) -> None:
    off = vendor.get("/fail/status").json()
    assert off["currently_failing"] is False
    assert off["failure_status"] == {
        "fail_requests_count": 0,
        "fail_until_timestamp": 0,
        "duration_remaining_seconds": 0,
        "currently_failing": False,
    }
    vendor.post("/fail/count/3")
    vendor.post("/fail/duration/60")
    on = vendor.get("/fail/status").json()
    status = on["failure_status"]
    assert on["currently_failing"] is status["currently_failing"] is True
    assert status["fail_requests_count"] == 3
    assert 50 < status["duration_remaining_seconds"] <= 60
    left = status["fail_until_timestamp"] - time.time()
    assert 50 < left <= 60
    reset = vendor.post("/fail/reset").json()
    assert reset["status"] == "normal_operation"
    assert reset["message"]
    assert vendor.get("/fail/status").json() == off
