"""Programs that use the Python client, killed and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
import pytest

from provider_simulator.running import Simulator
from tests.support.api_user import ApiUser
from tests.support.processes import service_process
from tests.support.python_client import Reader
from tests.support.waiting import eventually

ROWS = 120
PROGRAM = """
import os
from metasync import Metasync

with Metasync() as client:
    if address := os.environ.get("SIMULATOR"):
        names = [model.name for model in client.models.list()]
        if "simulated" not in names:
            client.models.create(
                "simulated", sdk="OpenAI", endpoint=address,
                key="PROVIDER_KEY", max_completion_token=100,
            )
    rows = ({"n": n} for n in range(%d))
    results = client.map(
        "Say {{ n }}", rows, model=os.environ["MODEL"], concurrency=8,
        in_flight=40,
    )
    for result in results:
        print(result.index, result.require(), flush=True)
"""
# What a developer's own environment may hold.
NOT_PASSED_ON = ("METASYNC_URL", "METASYNC_TOKEN", "ADMIN_API_KEY")


class Programs:
    """Starts the program in a directory; leaves none running."""

    def __init__(self, directory: Path, variables: Mapping[str, str]) -> None:
        self.directory = directory
        self._environment = {
            **{k: v for k, v in os.environ.items() if k not in NOT_PASSED_ON},
            **variables,
        }
        self._started: list[subprocess.Popen[str]] = []

    def start(self, code: str = PROGRAM % ROWS) -> subprocess.Popen[str]:
        """Start it without waiting."""
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=self.directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def run(self, code: str = PROGRAM % ROWS) -> str:
        """Run it to its end; return what it printed."""
        process = self.start(code)
        output, _ = process.communicate(timeout=90)
        assert process.returncode == 0, output
        return output

    def clean_up(self) -> None:
        """Leave nothing running."""
        for process in self._started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def running(self) -> list[str]:
        """Name the processes that work for one of the directory."""
        mine = os.fsencode(self.directory)
        return [
            path.parent.name
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if _known_to(path, mine)
        ]


def _known_to(path: Path, directory: bytes) -> bool:
    try:
        cwd = os.fsencode(path.with_name("cwd").readlink())
        return directory in path.read_bytes() + cwd
    except OSError:
        return False


@pytest.fixture
def reader(user: ApiUser, shared_simulator: Simulator) -> Reader:
    shared_simulator.configure(latency_ms=100)
    return Reader(user, shared_simulator)


@pytest.fixture
def programs(reader: Reader, tmp_path: Path) -> Iterator[Programs]:
    variables = {
        "METASYNC_URL": reader.url,
        "METASYNC_TOKEN": reader.token,
        "MODEL": reader.model,
    }
    programs = Programs(tmp_path, variables)
    yield programs
    programs.clean_up()


@pytest.fixture
def embedded(
    shared_simulator: Simulator, tmp_path: Path
) -> Iterator[Programs]:
    shared_simulator.configure(latency_ms=100)
    variables = {
        "SIMULATOR": shared_simulator.base_urls["OpenAI"],
        "PROVIDER_KEY": "sk-simulated",
        "MODEL": "simulated",
    }
    programs = Programs(tmp_path, variables)
    yield programs
    programs.clean_up()
    eventually(
        lambda: not programs.running(),
        seconds=30,
        what="the end of the service",
    )


def indexes(output: str) -> list[int]:
    return sorted(int(line.split()[0]) for line in output.splitlines())


def test_a_program_that_is_killed_goes_on_and_pays_nothing_twice(
    programs: Programs, reader: Reader
) -> None:
    for calls in (10, 50):
        program = programs.start()

        def begun(least: int = calls) -> bool:
            return reader.calls > least

        eventually(begun, seconds=60, what="calls")
        program.send_signal(signal.SIGKILL)
        program.wait()
    assert indexes(programs.run()) == list(range(ROWS))
    # Control: without the answers of before, there would be more.
    assert reader.calls == ROWS


def test_two_programs_that_ask_the_same_at_once_pay_once(
    programs: Programs, reader: Reader
) -> None:
    started = [programs.start() for _ in range(2)]
    for program in started:
        output, _ = program.communicate(timeout=90)
        assert program.returncode == 0, output
        assert indexes(output) == list(range(ROWS))
    assert reader.calls == ROWS


@pytest.mark.long
def test_an_embedded_instance_ends_with_its_program_and_goes_on(
    embedded: Programs, shared_simulator: Simulator
) -> None:
    def calls() -> int:
        return int(shared_simulator.stats()["requests"])

    program = embedded.start()
    eventually(lambda: calls() > 20, seconds=90, what="calls")
    program.send_signal(signal.SIGKILL)
    program.wait()
    # Its calls that were under way have ended first.
    eventually(
        lambda: not embedded.running(),
        seconds=30,
        what="the end of the service",
    )
    assert calls() < ROWS
    assert indexes(embedded.run()) == list(range(ROWS))
    assert calls() == ROWS
    # Ended in order, too.
    assert not embedded.running()


@pytest.mark.long
def test_ctrl_c_ends_the_program_and_its_instance(
    embedded: Programs, shared_simulator: Simulator
) -> None:
    program = embedded.start()
    eventually(
        lambda: shared_simulator.stats()["requests"] > 5,
        seconds=90,
        what="calls",
    )
    program.send_signal(signal.SIGINT)
    output, _ = program.communicate(timeout=60)
    assert "KeyboardInterrupt" in output
    assert program.returncode
    assert not embedded.running()


@pytest.mark.long
def test_a_server_that_is_killed_is_waited_for(
    shared_simulator: Simulator, tmp_path: Path
) -> None:
    shared_simulator.configure(latency_ms=50)
    with service_process(
        tmp_path / "data", PROVIDER_KEY="sk-simulated"
    ) as service:
        with httpx2.Client(base_url=service.url, timeout=60) as http:
            reader = Reader(ApiUser(http), shared_simulator)
        variables = {
            "METASYNC_URL": reader.url,
            "METASYNC_TOKEN": reader.token,
            "MODEL": reader.model,
        }
        programs = Programs(tmp_path, variables)
        program = programs.start()
        eventually(lambda: reader.calls > 20, seconds=60, what="calls")
        service.kill()
        service.start()
        output, _ = program.communicate(timeout=90)
        programs.clean_up()
    assert program.returncode == 0, output
    assert indexes(output) == list(range(ROWS))
    # What was under way when it was killed may be asked once more, and what
    # had just been answered and was not stored yet.
    assert ROWS <= reader.calls <= ROWS + 2 * 8


def test_without_a_service_and_without_one_to_start_it_says_what_to_do(
    tmp_path: Path,
) -> None:
    programs = Programs(tmp_path, {"PATH": str(tmp_path)})
    code = (
        "import sys; sys.executable = '/nowhere/python'\n"
        "from metasync import Metasync\n"
        "list(Metasync().jobs.list())"
    )
    program = programs.start(code)
    output, _ = program.communicate(timeout=60)
    assert "ConfigurationError" in output
    assert "METASYNC_URL" in output
    assert "metasync-client[embedded]" in output


@pytest.mark.slow
def test_an_instance_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / ".metasync").write_text("a file, not a directory")
    programs = Programs(tmp_path, {})
    code = "from metasync import Metasync; list(Metasync().jobs.list())"
    program = programs.start(code)
    output, _ = program.communicate(timeout=60)
    assert "EmbeddedError" in output
    assert ".metasync" in output
    assert program.returncode
