"""`metasync run` as people start it: a process in a directory."""

import json
import os
import pty
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import httpx2
import pytest
from aiohttp import web

from tests.integration.test_workers import provider_model
from tests.support.api_user import ApiUser
from tests.support.fake_provider import Body, FakeProvider, completion, failure
from tests.support.fork_server import CommandProcess
from tests.support.live_server import free_port
from tests.support.processes import service_process
from tests.support.run_commands import (
    KEY,
    PROMPT,
    SECONDS,
    Holding,
    Refusing,
    Row,
    RunCommands,
    asked,
    numbered,
)
from tests.support.waiting import eventually


class TestOnAPrivateInstance:
    def test_more_than_a_thousand_lines_with_labels(
        self, commands: RunCommands
    ) -> None:
        commands.options = ["--sdk", "test", "--label-field", "right"]
        lines = [
            {"id": n, "text": f"Zeile \u2028 {n}", "right": "OK"[: 1 + n % 2]}
            for n in range(1, 1101)
        ]
        commands.write(lines)
        ended = commands.run_file()
        assert ended.status == 0, ended.output
        assert "50.0%  (550 of 1,100)" in ended.output
        assert "results.jsonl" in ended.output
        rows = sorted(commands.rows(), key=lambda row: row["line"])
        assert [row["line"] for row in rows] == list(range(1, 1101))
        assert [row["id"] for row in rows] == list(range(1, 1101))
        assert rows[6]["response"]["echo"] == {"text": "Zeile \u2028 7"}
        assert rows[6]["metrics"]["inputTokens"] > 0
        assert (rows[6]["label"], rows[6]["correct"]) == ("OK", True)
        assert rows[7]["correct"] is False
        assert commands.files() == {"in.jsonl", "results.jsonl"}
        assert commands.running() == []
        self._check_again(commands, lines)

    @staticmethod
    def _check_again(commands: RunCommands, lines: list[Row]) -> None:
        """Nothing is asked again, not even for a corrected label."""
        commands.write([line | {"right": "ok"} for line in lines])
        ended = commands.run_file()
        assert ended.status == 0
        assert "answered in results.jsonl already" in ended.output
        assert "100.0%  (1,100 of 1,100)" in ended.output
        assert all(row["correct"] for row in commands.rows())
        assert commands.files() == {"in.jsonl", "results.jsonl"}

    def test_answers_in_a_form_of_their_own(
        self, on_provider: RunCommands, provider: FakeProvider
    ) -> None:
        commands, schema = on_provider, {"type": "object"}
        (commands.directory / "form.json").write_text(json.dumps(schema))
        commands.write(numbered(1))

        async def answer(_body: dict[str, Any]) -> web.StreamResponse:
            return completion("not JSON")

        provider.handler = answer
        ended = commands.run_file("--schema", "form.json")
        assert ended.status == 1
        assert "JSON_PARSING_ERROR" in ended.output
        asked = provider.requests[0]["response_format"]
        assert asked["json_schema"]["schema"] == schema
        # Another form is another question.
        ended = commands.run_file("--text")
        assert ended.status == 0, ended.output
        (row,) = commands.rows()
        assert row["response"] == {"text": "not JSON"}

    def test_a_model_that_is_told_what_was_wrong(
        self, on_provider: RunCommands, provider: FakeProvider
    ) -> None:
        commands = on_provider
        commands.write(numbered(1))

        async def answer(body: dict[str, Any]) -> web.StreamResponse:
            is_told = len(body["messages"]) > 2
            return completion('{"fine": true}' if is_told else "not JSON")

        provider.handler = answer
        ended = commands.run_file("--reasks=1")
        assert ended.status == 0, ended.output
        (row,) = commands.rows()
        assert row["response"] == {"fine": True}
        first, second = provider.requests
        assert second["messages"][:2] == first["messages"]
        assert second["messages"][2]["content"] == "not JSON"

    def test_a_provider_that_knows_max_tokens_only(
        self, on_provider: RunCommands, provider: FakeProvider
    ) -> None:
        commands = on_provider
        commands.write(numbered(3))

        async def answer(body: Body) -> web.StreamResponse:
            if "max_completion_tokens" in body:
                return failure(422, "max_completion_tokens: extra input")
            return completion('{"n": 1}')

        provider.handler = answer
        named = commands.run_file("--max-tokens-field=max_completion_tokens")
        assert named.status == 1
        assert "max_completion_tokens: extra input" in named.output
        found = commands.run_file("--max-tokens", "77")
        assert found.status == 0, found.output
        assert "next try with `max_tokens`" in found.output
        assert provider.requests[-1]["max_tokens"] == 77
        assert len(commands.rows()) == 3
        before = len(provider.requests)
        told = commands.run_file(
            "--max-tokens-field=max_tokens", "--out=new.jsonl"
        )
        assert told.status == 0
        assert len(provider.requests) == before + 3

    def test_a_failure_and_then_an_edited_line(
        self, on_provider: RunCommands, provider: FakeProvider
    ) -> None:
        commands, refusing = on_provider, Refusing(provider, 3)
        # The key may be in .env; what else is there is for another service.
        del commands.variables["MY_KEY"]
        (commands.directory / ".env").write_text(
            f"MY_KEY={KEY}\nDB_CONNECTION_STRING=mongodb://127.0.0.1:1/\n"
            "NUM_LLM_WORKERS=0\nADMIN_API_KEY=x\nPORT=1\n"
        )
        prices = ("--input-price", "1000", "--output-price", "2000")
        commands.options += [*prices, "--temperature", "0.25"]
        commands.write(numbered(6))
        ended = commands.run_file("--max-tokens", "77")
        assert ended.status == 1, ended.output
        assert "1 failed" in ended.output
        assert "line 3 (r-3): BAD_REQUEST" in ended.output
        assert "we do not like this one" in ended.output
        assert "same command again" in ended.output
        # 5 answers of 7 and 3 tokens.
        assert "35 / 15" in ended.output
        assert "0.0650 USD" in ended.output
        assert sorted(asked(provider)) == [1, 2, 3, 4, 5, 6]
        self._check_request(provider)
        rows = {row["line"]: row for row in commands.rows()}
        assert len(rows) == len(commands.rows()) == 6
        assert rows[3]["status"] == "ERROR_PROCESSING"
        assert rows[3]["error"]["errorType"] == "BAD_REQUEST"
        assert rows[1]["response"] == {"echo": {"n": 1}}
        assert commands.running() == []
        refusing.numbers.clear()
        self._check_next_run(commands, provider)

    @staticmethod
    def _check_request(provider: FakeProvider) -> None:
        assert set(provider.authorizations) == {f"Bearer {KEY}"}
        body = provider.requests[0]
        assert body["model"] == "gpt"
        assert body["temperature"] == 0.25
        assert body["max_completion_tokens"] == 77
        assert body["messages"][0] == {"role": "system", "content": PROMPT}

    @staticmethod
    def _check_next_run(commands: RunCommands, provider: FakeProvider) -> None:
        """Only the failed line and the edited one are asked; others move."""
        provider.requests.clear()
        lines = numbered(6)
        lines[4]["n"] = 55
        commands.write([lines[5], *lines[:5]])
        ended = commands.run_file()
        assert ended.status == 0, ended.output
        assert sorted(asked(provider)) == [3, 55]
        rows = {row["line"]: row["response"] for row in commands.rows()}
        assert len(rows) == len(commands.rows())
        assert rows == {
            line: {"echo": {"n": n}}
            for line, n in enumerate((6, 1, 2, 3, 4, 55), start=1)
        }
        assert "results.earlier.jsonl" in ended.output
        (moved,) = commands.rows("results.earlier.jsonl")
        assert moved["response"] == {"echo": {"n": 5}}
        assert not any(name.endswith(".metasync") for name in commands.files())


def test_a_refused_key_is_said_and_waited_for(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    async def refusing(_body: Body) -> web.StreamResponse:
        return failure(401, "Incorrect API key provided")

    provider.handler = refusing
    on_provider.write(numbered(3))
    ended = on_provider.run_file("--fail-fast")
    assert ended.status == 2
    assert "is suspended" in ended.output
    assert "does not accept the model's key" in ended.output
    assert KEY not in ended.output
    # The first call, and those that were under way.
    assert len(provider.requests) <= 3
    provider.handler = provider.echo
    ended = on_provider.run_file()
    assert ended.status == 0, ended.output
    assert len(on_provider.rows()) == 3


def test_it_says_why_nothing_comes(commands: RunCommands) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    commands.variables["OPENAI_API_KEY"] = KEY
    commands.write(numbered(20))
    process = commands.start_run("--endpoint", nobody)
    assert process.stdout is not None
    told = next(line for line in process.stdout if "trying again" in line)
    assert "Cannot connect to the provider" in told
    process.terminate()
    assert process.wait(SECONDS) == 143


CONCURRENCY = 4
# Far more work than is done before a signal arrives, however busy the
# machine.
LINES = 600


@pytest.mark.long
def test_stopped_in_every_way_it_goes_on_where_it_was(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    chain = _Chain(on_provider, provider)
    chain.stop_by(signal.SIGINT, 130, meanwhile=chain.start_another)
    # Calls that ran had their grace time: none is made twice.
    assert Counter(asked(provider)).most_common(1)[0][1] == 1
    chain.stop_by(signal.SIGTERM, 143)
    assert Counter(asked(provider)).most_common(1)[0][1] == 1
    chain.kill_the_command()
    chain.kill_everything()
    provider.delay = 0.0
    ended = on_provider.run_file()
    assert ended.status == 0, ended.output
    chain.check_end()


class _Chain:
    """One file that is run, and stopped, again and again."""

    def __init__(self, commands: RunCommands, provider: FakeProvider) -> None:
        self._commands = commands
        self._provider = provider
        self._holding = Holding(provider)
        commands.options += ["--concurrency", str(CONCURRENCY)]
        commands.write(numbered(LINES))
        provider.delay = 0.05

    def stop_by(
        self,
        number: signal.Signals,
        status: int,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        process = self._start()
        meanwhile()
        assert process.poll() is None
        process.send_signal(number)
        ended = self._commands.ended(process)
        assert ended.status == status, ended.output
        assert "Stopped" in ended.output
        assert "same command continues" in ended.output
        assert self._commands.running() == []

    def start_another(self) -> None:
        """It is refused; until then, the first one's calls are held."""
        self._holding.after = 0
        second = self._commands.run_file()
        assert second.status == 2
        assert "Another `metasync run` is writing" in second.output
        self._holding.after = 1_000_000

    def kill_the_command(self) -> None:
        """`kill -9`; the next one waits for what it has started."""
        process = self._start()
        process.kill()
        process.communicate()

    def kill_everything(self) -> None:
        """`kill -9` of all, while calls are open and all else is stored."""
        self._holding.after = len(self._provider.requests) + 20
        process = self._start()
        eventually(self._all_is_written, what="all answers written")
        pids = [process.pid, *self._commands.running()]
        assert len(pids) >= 3
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        process.communicate()
        eventually(lambda: not self._commands.running(), what="death")
        self._lost = set(asked(self._provider)) - self._written()
        assert len(self._lost) == CONCURRENCY
        self._holding.after = 1_000_000

    def check_end(self) -> None:
        again = [n for n, c in Counter(asked(self._provider)).items() if c > 1]
        assert set(again) <= self._lost
        rows = self._commands.rows()
        assert sorted(r["line"] for r in rows) == list(range(1, LINES + 1))
        assert self._written() == set(range(1, LINES + 1))
        assert self._commands.files() == {"in.jsonl", "results.jsonl"}
        assert self._commands.running() == []

    def _start(self) -> CommandProcess:
        """Start it and wait until it has asked something."""
        before = len(self._provider.requests)
        process = self._commands.start_run()

        def has_asked() -> bool:
            assert process.poll() is None, process.communicate()[0]
            return len(self._provider.requests) > before + 8

        eventually(has_asked, seconds=SECONDS, what="calls")
        return process

    def _all_is_written(self) -> bool:
        open_calls = set(asked(self._provider)) - self._written()
        return len(open_calls) == self._provider.running == CONCURRENCY

    def _written(self) -> set[int]:
        return {row["response"]["echo"]["n"] for row in self._commands.rows()}


class TestOnAServer:
    def test_with_a_running_worker(
        self, on_server: RunCommands, user: ApiUser
    ) -> None:
        user.worker()
        on_server.write(numbered(30))
        ended = on_server.run_file()
        assert ended.status == 0, ended.output
        assert sorted(r["line"] for r in on_server.rows()) == [*range(1, 31)]
        assert on_server.files() == {"in.jsonl", "results.jsonl"}
        counts = user.get("/jobs/summary")
        assert counts["CONSUMED"] == counts["total"] == 30

    def test_results_that_were_lost_are_fetched_again(
        self, on_server: RunCommands, user: ApiUser, provider: FakeProvider
    ) -> None:
        on_server.model = provider_model(user, provider)
        user.worker()
        on_server.write(numbered(5))
        assert on_server.run_file().status == 0
        (on_server.directory / "results.jsonl").unlink()
        assert on_server.run_file().status == 0
        assert len(on_server.rows()) == 5
        assert sorted(asked(provider)) == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("config", [None, {"modelFilter": "another"}])
    def test_without_a_worker_nothing_is_submitted(
        self,
        on_server: RunCommands,
        user: ApiUser,
        config: dict[str, Any] | None,
    ) -> None:
        if config:
            user.worker(**config)
        on_server.write(numbered(2))
        ended = on_server.run_file()
        assert ended.status == 2
        assert "--start-worker" in ended.output
        assert user.get("/jobs/summary")["total"] == 0
        assert on_server.files() == {"in.jsonl"}

    def test_start_worker(self, on_server: RunCommands, user: ApiUser) -> None:
        on_server.write(numbered(2))
        ended = on_server.run_file("--start-worker", "--concurrency", "7")
        assert ended.status == 0, ended.output
        (worker,) = user.get("/workers")
        assert worker["status"] == "running"
        assert worker["config"]["maxConcurrency"] == 7

    def test_two_runs_at_once_share_a_question(
        self, on_server: RunCommands, user: ApiUser, provider: FakeProvider
    ) -> None:
        # Each sees the other's jobs in its lists, and one line is in both.
        holding = Holding(provider)
        holding.after = 0
        on_server.model = provider_model(user, provider)
        user.worker(maxConcurrency=3, maxItemsPerBatch=3)
        on_server.write(numbered(21)[:11], "a.jsonl")
        on_server.write(numbered(21)[10:], "b.jsonl")
        both = [
            on_server.start_run("--out", f"{n}.out", source=f"{n}.jsonl")
            for n in ("a", "b")
        ]
        # Both have submitted before one has ended.
        eventually(
            lambda: user.get("/jobs/summary")["total"] == 22, seconds=SECONDS
        )
        holding.after = 1_000
        for process in both:
            ended = on_server.ended(process)
            assert ended.status == 0, ended.output
        first = [
            row["response"]["echo"]["n"] for row in on_server.rows("a.out")
        ]
        second = [
            row["response"]["echo"]["n"] for row in on_server.rows("b.out")
        ]
        assert sorted(first) == list(range(1, 12))
        assert sorted(second) == list(range(11, 22))
        assert sorted(asked(provider)) == list(range(1, 22))

    def test_jobs_that_somebody_cancels_or_deletes(
        self, on_server: RunCommands, user: ApiUser, provider: FakeProvider
    ) -> None:
        holding = Holding(provider)
        holding.after = 0
        on_server.model = provider_model(user, provider)
        user.worker(maxConcurrency=1, maxItemsPerBatch=1)
        on_server.write(numbered(3))
        process = on_server.start_run()
        eventually(lambda: provider.running, seconds=SECONDS)
        _, second, third = user.get("/jobs")
        user.patch(f"/jobs/{second['jobId']}", {"status": "CANCELED"})
        user.delete(f"/jobs/{third['jobId']}")
        holding.after = 1_000
        ended = on_server.ended(process)
        assert ended.status == 1, ended.output
        assert "line 2 (r-2): CANCELED" in ended.output
        assert "line 3 (r-3): DELETED" in ended.output
        ended = on_server.run_file()
        assert ended.status == 0, ended.output
        assert sorted(r["line"] for r in on_server.rows()) == [1, 2, 3]
        assert sorted(asked(provider)) == [1, 2, 3]

    def test_the_terminal_closes(
        self, on_server: RunCommands, user: ApiUser, provider: FakeProvider
    ) -> None:
        holding = Holding(provider)
        holding.after = 0
        on_server.model = provider_model(user, provider)
        user.worker()
        on_server.write(numbered(3))
        ours, terminal = pty.openpty()
        process = on_server.start_run(stdout=terminal, stderr=subprocess.PIPE)
        os.close(terminal)
        eventually(lambda: provider.running, seconds=SECONDS)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        _, errors = process.communicate(timeout=SECONDS)
        holding.after = 1_000
        assert process.returncode == 129
        assert (errors or "").strip() == (
            "Stopped. The same command continues where it stopped."
        )

    def test_unknown_model(self, on_server: RunCommands) -> None:
        known, on_server.model = on_server.model, "no-such-model"
        on_server.write(numbered(2))
        ended = on_server.run_file()
        assert ended.status == 2
        assert "no model 'no-such-model'" in ended.output
        assert known in ended.output

    def test_wrong_credentials(self, on_server: RunCommands) -> None:
        on_server.variables["METASYNC_CLIENT_API_KEY"] = "wrong"
        on_server.write(numbered(2))
        ended = on_server.run_file()
        assert ended.status == 2
        assert "METASYNC_CLIENT_API_KEY" in ended.output

    def test_nothing_else_may_answer(
        self, on_server: RunCommands, provider: FakeProvider
    ) -> None:
        on_server.options = ["--server", provider.url]
        on_server.write(numbered(2))
        ended = on_server.run_file()
        assert ended.status == 2
        assert "is no Metasync" in ended.output


@pytest.mark.slow
def test_a_server_that_is_away_for_a_moment_is_waited_for(
    commands: RunCommands, provider: FakeProvider
) -> None:
    variables = {"PROVIDER_KEY": KEY, "LEASE_SECONDS": "2"}
    data = commands.directory / "server" / "data"
    data.parent.mkdir()
    commands.write(numbered(60))
    provider.delay = 0.05
    with service_process(data, **variables) as service:
        with httpx2.Client(base_url=service.url) as http:
            user = ApiUser(http)
            commands.model = provider_model(user, provider)
            user.worker(maxConcurrency=CONCURRENCY)
        commands.variables = {
            "METASYNC_CLIENT_ID": user.client_id,
            "METASYNC_CLIENT_API_KEY": user.key,
        }
        process = commands.start_run("--server", service.url)
        eventually(lambda: len(provider.requests) > 8, seconds=SECONDS)
        service.kill()
        assert process.poll() is None
        service.start()
        ended = commands.ended(process)
    assert ended.status == 0, ended.output
    assert sorted(r["line"] for r in commands.rows()) == list(range(1, 61))
    assert len(asked(provider)) <= 60 + 2 * CONCURRENCY


class TestRefusedAtOnce:
    """What is wrong is said before anything starts, with what to do."""

    WRONG: ClassVar[dict[str, list[str]]] = {
        "--prompt=": ["prompt is empty"],
        "--prompt-file=x": ["one of --prompt and --prompt-file"],
        "--schema=nowhere": ["Cannot read nowhere"],
        "--schema=notes.txt": ["notes.txt is not JSON"],
        "--schema=list.json": ["list.json", "a JSON object"],
        "--ladder=m": ["--ladder needs --server"],
        "--sdk=Foo": ["'Foo'", "OpenAI", "test"],
        "--endpoint=nonsense": ["OpenAI:", "endpoint"],
        "--key-env=MINE": ["MINE is not set", ".env", "--key-env"],
        "--label-field=x": ["'x'", "the first line has: id, n"],
        "--out=in.jsonl": ["--out is the input itself"],
        "--out=notes.txt": ["notes.txt exists", "another --out"],
        "--out=notes.txt/x": ["Cannot write"],
        "--server=http://127.0.0.1:1": [
            "METASYNC_CLIENT_ID",
            "METASYNC_CLIENT_API_KEY",
        ],
    }

    def test_options(self, commands: RunCommands) -> None:
        lines, notes = '{"id": 1, "n": 1}\n', "my notes\n"
        files = {
            ".env": "X=x\n",
            "in.jsonl": lines,
            "notes.txt": notes,
            "list.json": "[]",
        }
        for name, content in files.items():
            (commands.directory / name).write_text(content)
        commands.variables["OPENAI_API_KEY"] = KEY
        # Each has results of its own, or they would refuse each other.
        started = {
            option: commands.start_run(f"--out={number}.jsonl", option)
            for number, option in enumerate(self.WRONG)
        }
        for option, process in started.items():
            ended = commands.ended(process)
            assert ended.status == 2, (option, ended.output)
            assert ended.output.startswith("Error: ")
            assert "Traceback" not in ended.output
            for word in self.WRONG[option]:
                assert word in ended.output
        assert commands.files() == set(files)
        for name, content in files.items():
            assert (commands.directory / name).read_text() == content

    def test_bad_lines(self, commands: RunCommands) -> None:
        path = commands.directory / "in.jsonl"
        path.write_text('{"n": 1}\nnonsense\n[2]\n{"n": 3}\n')
        commands.options = ["--sdk", "test"]
        ended = commands.run_file()
        assert ended.status == 2
        assert "nothing was submitted" in ended.output
        assert "line 2: not valid JSON" in ended.output
        assert "line 3: not a JSON object" in ended.output
        assert commands.files() == {"in.jsonl"}

    @pytest.mark.parametrize("scheme", ["http://", ""])
    def test_no_server_there(self, commands: RunCommands, scheme: str) -> None:
        commands.variables = {
            "METASYNC_CLIENT_ID": "x",
            "METASYNC_CLIENT_API_KEY": "x",
        }
        commands.write(numbered(2))
        url = f"{scheme}127.0.0.1:{free_port()}"
        started = time.monotonic()
        ended = commands.run_file("--server", url)
        assert ended.status == 2
        assert ("No answer from" if scheme else "a URL") in ended.output
        # A server that was there before would be waited for a minute.
        assert time.monotonic() - started < 45
        assert commands.files() == {"in.jsonl"}


def test_a_table_becomes_a_table(
    on_server: RunCommands, user: ApiUser, provider: FakeProvider
) -> None:
    on_server.model = provider_model(user, provider)

    async def answer(body: Body) -> web.StreamResponse:
        asked = body["messages"][-1]["content"]
        return completion(json.dumps({"said": asked.rsplit(" ", 1)[-1]}))

    provider.handler = answer
    source = on_server.directory / "in.csv"
    source.write_text("id,word,lang\n7,tree,en\n8,Baum,de\n", "utf-8")
    prompt = on_server.directory / "prompt.txt"
    prompt.write_text("Language {{lang}}. The word is {{ word }}")
    needed = ("run", "in.csv", "--model", on_server.model)
    ended = on_server.run(
        *needed,
        *("--prompt-file", "prompt.txt", "--out", "out.csv"),
        *("--start-worker", *on_server.options),
    )
    assert ended.status == 0, ended.output
    out = on_server.directory / "out.csv"
    assert out.read_text("utf-8").splitlines() == [
        "id,word,lang,said",
        "7,tree,en,tree",
        "8,Baum,de,Baum",
    ]
    (first, _) = sorted(
        each["messages"][-1]["content"] for each in provider.requests
    )
    assert first == "Language de. The word is Baum"
    # Nothing is asked again; an unknown column is told before any call.
    prompt.write_text("The word is {{ wrod }}")
    wrong = on_server.run(*needed, "--prompt-file", "prompt.txt")
    assert wrong.status == 2
    assert "line 2: 'wrod' is not known (did you mean 'word'?)" in wrong.output
    assert len(provider.requests) == 2
