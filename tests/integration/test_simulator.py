"""The simulator itself: its controls, its HTTP, its ways to run."""

import json
import os
import re
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provider_simulator.running import Simulator, running_simulator
from provider_simulator.script import Rule
from provider_simulator.settings import (
    SimulatorError,
    SimulatorSettings,
)
from tests.support.simulator_calls import (
    ANTHROPIC,
    CALLS,
    CHAT,
    OPENAI,
    Json,
    all_of,
    raw,
    said,
)
from tests.support.waiting import eventually


def test_a_script_replaced_at_run_time(vendor: httpx2.Client) -> None:
    rules = [
        {"pattern": "(?i)hello", "text": "Hi!", "headers": {"x-a": "b"}},
        {"status": 404, "message": "No such model", "latency_ms": 1},
    ]
    assert vendor.put("/script", json=rules).json() == rules
    response = vendor.post(OPENAI, json=CHAT)
    assert said(OPENAI, response.json()) == "Hi!"
    assert response.headers["x-a"] == "b"
    other = {**CHAT, "messages": [{"role": "user", "content": "Bye"}]}
    response = vendor.post(OPENAI, json=other)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    quota = {"error": {"code": "insufficient_quota"}}
    vendor.put("/script", json=[{"status": 429, "body": quota}])
    assert vendor.post(OPENAI, json=CHAT).json() == quota
    vendor.put("/script", content=b"")
    assert vendor.post(OPENAI, json=CHAT).status_code == 200


def test_settings_at_run_time(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    before = vendor.get("/settings").json()
    assert before == SimulatorSettings().model_dump(mode="json")
    after = vendor.patch("/settings", json={"latency_ms": 5}).json()
    assert after == {**before, "latency_ms": 5}
    for body in (b"{", b"[]", b'{"no": 1}'):
        assert vendor.patch("/settings", content=body).status_code == 422
    with pytest.raises(SimulatorError, match="latency_ms"):
        simulator.configure(latency_ms=-1)
    assert vendor.get("/settings").json() == after


def test_counts_and_their_reset(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    vendor.post(OPENAI, json=CHAT)
    vendor.post(ANTHROPIC, json={})
    stats = simulator.stats()
    assert stats["requests"] == 2
    assert stats["answers"] == {"ok": 1, "bad_request": 1}
    assert stats["endpoints"] == {"openai": 1, "anthropic": 1}
    simulator.reset_stats()
    assert simulator.stats()["requests"] == 0


def test_health(vendor: httpx2.Client) -> None:
    health = vendor.get("/health").json()
    assert health["status"] == "ok"
    assert health["uptime_seconds"] >= 0


def test_every_response_has_a_correlation_id(
    simulator: Simulator, vendor: httpx2.Client
) -> None:
    header = {"X-Correlation-ID": "mine"}
    for path in ("/health", "/msg", "/nowhere", "/settings"):
        response = vendor.get(path, headers=header)
        assert response.headers["x-correlation-id"] == "mine"
        assert len(vendor.get(path).headers["x-correlation-id"]) == 36
    simulator.fail_next(1)
    assert vendor.get("/msg").headers["x-correlation-id"]


def test_paths_and_methods_that_are_not_there(vendor: httpx2.Client) -> None:
    assert vendor.get("/nowhere").status_code == 404
    response = vendor.get(OPENAI)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert vendor.delete("/settings").headers["allow"] == "GET, PATCH"


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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        *("model", "messages", "max_tokens", "stream", "stream_options"),
        *("response_format", "output_config", "system", "contents"),
        *("generationConfig", "systemInstruction"),
    ]
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    call=st.sampled_from(CALLS),
    changes=st.dictionaries(FIELDS, JSON, max_size=3),
    messages=st.lists(st.dictionaries(st.just("content"), JSON), max_size=2),
)
def test_odd_calls_are_answered_or_refused(
    vendor: httpx2.Client,
    call: tuple[str, Json],
    changes: Json,
    messages: list[Json],
) -> None:
    path, body = call
    for odd in ({**body, **changes}, {**body, "messages": messages}):
        assert vendor.post(path, json=odd).status_code in {200, 400}


def test_a_client_that_reads_slowly_gets_everything(
    simulator: Simulator,
) -> None:
    # More than the kernel's buffers hold, so that writers must wait.
    simulator.script({"text": "x" * 400_000, "headers": {"x-a": "b"}})
    simulator.configure(tokens_per_second=1e9)
    body = json.dumps({**CHAT, "stream": True})
    connection = raw(
        simulator,
        f"POST {OPENAI} HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\n\r\n{body}",
        buffer_bytes=4096,
    )
    eventually(lambda: simulator.stats()["open"] == 1)
    assert all_of(connection).endswith("data: [DONE]\n\n\r\n0\r\n\r\n")
    assert simulator.stats()["answers"] == {"ok": 1}


def test_what_is_no_http(simulator: Simulator) -> None:
    answer = all_of(raw(simulator, "nonsense\r\n\r\n"))
    assert answer.startswith("HTTP/1.1 400 ")


def test_a_large_body_in_pieces(vendor: httpx2.Client) -> None:
    text = "long " * 200_000
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": text}]}
    ).encode()
    parts = (body[at : at + 9999] for at in range(0, len(body), 9999))
    answer = vendor.post(OPENAI, content=parts).json()
    assert json.loads(said(OPENAI, answer))["echo"] == text


def test_in_a_process_of_its_own() -> None:
    seeded = SimulatorSettings(seed=5)
    rules = [Rule(text="scripted")]
    with running_simulator(seeded, rules, process=True) as simulator:
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
