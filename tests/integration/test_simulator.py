"""The simulator itself: its controls, its HTTP, its ways to run."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.simulator_calls import (
    ANTHROPIC,
    CHAT,
    OPENAI,
    all_of,
    raw,
    said,
)
from utilities.provider_simulator.running import Simulator, running_simulator
from utilities.provider_simulator.script import Rule
from utilities.provider_simulator.settings import (
    SimulatorError,
    SimulatorSettings,
)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture
def http(simulator: Simulator) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=simulator.url, timeout=20) as client:
        yield client


def test_a_script_replaced_at_run_time(http: httpx2.Client) -> None:
    rules = [
        {"pattern": "(?i)hello", "text": "Hi!", "headers": {"x-a": "b"}},
        {"status": 404, "message": "No such model", "latency_ms": 1},
    ]
    assert http.put("/script", json=rules).json() == rules
    response = http.post(OPENAI, json=CHAT)
    assert said(OPENAI, response.json()) == "Hi!"
    assert response.headers["x-a"] == "b"
    other = {**CHAT, "messages": [{"role": "user", "content": "Bye"}]}
    response = http.post(OPENAI, json=other)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    quota = {"error": {"code": "insufficient_quota"}}
    http.put("/script", json=[{"status": 429, "body": quota}])
    assert http.post(OPENAI, json=CHAT).json() == quota
    http.put("/script", content=b"")
    assert http.post(OPENAI, json=CHAT).status_code == 200


def test_settings_at_run_time(
    simulator: Simulator, http: httpx2.Client
) -> None:
    before = http.get("/settings").json()
    assert before == SimulatorSettings().model_dump(mode="json")
    after = http.patch("/settings", json={"latency_ms": 5}).json()
    assert after == {**before, "latency_ms": 5}
    for body in (b"{", b"[]", b'{"no": 1}'):
        assert http.patch("/settings", content=body).status_code == 422
    with pytest.raises(SimulatorError, match="latency_ms"):
        simulator.configure(latency_ms=-1)
    assert http.get("/settings").json() == after


def test_counts_and_their_reset(
    simulator: Simulator, http: httpx2.Client
) -> None:
    http.post(OPENAI, json=CHAT)
    http.post(ANTHROPIC, json={})
    stats = simulator.stats()
    assert stats["requests"] == 2
    assert stats["answers"] == {"ok": 1, "bad_request": 1}
    assert stats["endpoints"] == {"openai": 1, "anthropic": 1}
    simulator.reset_stats()
    assert simulator.stats()["requests"] == 0


def test_health(http: httpx2.Client) -> None:
    health = http.get("/health").json()
    assert health["status"] == "ok"
    assert health["uptime_seconds"] >= 0


def test_every_response_has_a_correlation_id(
    simulator: Simulator, http: httpx2.Client
) -> None:
    header = {"X-Correlation-ID": "mine"}
    for path in ("/health", "/msg", "/nowhere", "/settings"):
        response = http.get(path, headers=header)
        assert response.headers["x-correlation-id"] == "mine"
        assert len(http.get(path).headers["x-correlation-id"]) == 36
    simulator.fail_next(1)
    assert http.get("/msg").headers["x-correlation-id"]


def test_paths_and_methods_that_are_not_there(http: httpx2.Client) -> None:
    assert http.get("/nowhere").status_code == 404
    response = http.get(OPENAI)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert http.delete("/settings").headers["allow"] == "GET, PATCH"


def test_calls_sent_at_once_are_answered_in_order(
    simulator: Simulator,
) -> None:
    answer = all_of(
        raw(
            simulator,
            "GET /msg?delay=50 HTTP/1.1\r\n\r\n"
            "GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n",
        )
    )
    assert re.findall(r"HTTP/1.1 (\d+)", answer) == ["200", "404"]


def test_a_careful_client_may_go_on(simulator: Simulator) -> None:
    connection = raw(
        simulator,
        "PATCH /settings HTTP/1.1\r\nContent-Length: 2\r\n"
        "Expect: 100-continue\r\nConnection: close\r\n\r\n",
    )
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    connection.sendall(b"{}")
    assert all_of(connection).startswith("HTTP/1.1 200 ")


def test_what_is_no_http(simulator: Simulator) -> None:
    answer = all_of(raw(simulator, "nonsense\r\n\r\n"))
    assert answer.startswith("HTTP/1.1 400 ")


def test_a_large_body_in_pieces(http: httpx2.Client) -> None:
    text = "long " * 200_000
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": text}]}
    ).encode()
    parts = (body[at : at + 9999] for at in range(0, len(body), 9999))
    answer = http.post(OPENAI, content=parts).json()
    assert json.loads(said(OPENAI, answer))["echo"] == text


def test_in_a_process_of_its_own() -> None:
    settings = SimulatorSettings(seed=5)
    rules = [Rule(text="scripted")]
    with running_simulator(settings, rules, process=True) as simulator:
        url = simulator.base_urls["OpenAI"] + "/chat/completions"
        answer = httpx2.post(url, json=CHAT).json()
        assert said(OPENAI, answer) == "scripted"
        assert httpx2.get(simulator.url + "/settings").json()["seed"] == 5
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(simulator.url)


def test_two_cannot_have_one_port(simulator: Simulator) -> None:
    port = urlsplit(simulator.url).port or 0
    with (
        pytest.raises(SimulatorError, match=f"port {port}"),
        running_simulator(port=port),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command(number: int) -> None:
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "cli", "simulate", "--port", "0"),
            *("--failure", "server_error=1", "--retry-after-seconds", "9"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        url = str(process.stdout.readline()).split()[4].rstrip(";")
        lines = [process.stdout.readline() for _ in range(7)]
        assert any(f"{url}/v1\n" in line for line in lines)
        assert httpx2.post(url + OPENAI, json=CHAT).status_code == 500
        process.send_signal(number)
        assert "Stopped." in process.stdout.read()
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--failure", "reset"),
        ("--failure", "nonsense=0.5"),
        ("--script", "/no/such/file"),
        ("--host", "no.such.host.invalid"),
    ],
)
def test_a_command_that_cannot_work(arguments: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "cli", "simulate", "--port=0", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: ")
