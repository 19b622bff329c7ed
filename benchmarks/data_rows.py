"""A prompt over a file of rows: ours, two libraries, and a loop.

    python -m benchmarks.data_rows --rows 5000 --rounds 3

Each program runs as a process of its own, from its start to its end, with
the same provider: a simulator with 200 ms an answer. Then each is killed
once half of the rows have been asked, and started again: what the provider
has counted beyond the rows was asked, and would have been paid, twice.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.service import LATENCY_MS
from provider_simulator.running import Simulator, running_simulator
from provider_simulator.settings import SimulatorSettings

_ROOT = Path(__file__).resolve().parent.parent
_PEERS = _ROOT / "benchmarks" / "data_peers"
_CURATOR = _ROOT / ".venv" / "curator" / "bin" / "python"
_PROMPT = "Is this happy? Answer as JSON.\n{{ text }}"
_ANSWER = '{"happy": true}'
_SAMPLE_SECONDS = 0.1
_MEBIBYTE = 1024 * 1024
_LONGEST_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Subject:
    """A program: `command` makes its arguments."""

    name: str
    lines: int
    command: Callable[[str, Path, int], list[str]]
    is_there: bool = True


@dataclass(frozen=True, slots=True)
class Ran:
    """One whole run: seconds, and the memory of all its processes (MiB)."""

    seconds: float
    megabytes: float


def main(
    rows: Annotated[int, typer.Option(min=10)] = 5000,
    concurrency: Annotated[int, typer.Option(min=1)] = 400,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure and print a table."""
    console = Console(width=110)
    subjects = [each for each in _subjects() if each.is_there]
    settings = SimulatorSettings(latency_ms=LATENCY_MS)
    with (
        tempfile.TemporaryDirectory() as directory,
        running_simulator(settings, process=True) as provider,
    ):
        provider.script({"text": _ANSWER})
        source = Path(directory) / "rows.jsonl"
        _write(source, rows)
        ran: dict[str, list[Ran]] = {each.name: [] for each in subjects}
        # In turn, so that what the machine does meanwhile hits all alike.
        for _ in range(rounds):
            for each in subjects:
                ran[each.name].append(
                    _whole(each, provider, source, concurrency, rows)
                )
        again = {
            each.name: _after_a_kill(each, provider, source, concurrency, rows)
            for each in subjects
        }
    console.print(_table(subjects, ran, again, rows, concurrency))


def _subjects() -> list[Subject]:
    def peer(name: str, python: Path) -> Subject:
        path = _PEERS / f"{name}_rows.py"
        return Subject(
            name,
            sum(1 for line in path.read_text().splitlines() if line.strip()),
            lambda url, source, many: [
                str(python),
                *(str(path), url, str(source), str(many)),
            ],
            python.exists(),
        )

    return [
        Subject("metasync run", 1, _ours),
        peer("curator", _CURATOR),
        peer("async_batch", _CURATOR),
        peer("loop", Path(sys.executable)),
    ]


def _ours(url: str, source: Path, concurrency: int) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "cli", "run", str(source)),
        *("--model", "gpt-4o-mini", "--endpoint", url, "--prompt", _PROMPT),
        *("--concurrency", str(concurrency), "--out", "out.jsonl"),
    ]


def _write(path: Path, rows: int) -> None:
    draw = random.Random(1)
    words = ["fine", "bad", "great", "slow", "kind", "loud", "bright", "dull"]
    with path.open("w") as file:
        for number in range(rows):
            text = " ".join(draw.choices(words, k=40))
            file.write(json.dumps({"id": number, "text": text}) + "\n")


def _whole(
    subject: Subject,
    provider: Simulator,
    source: Path,
    concurrency: int,
    rows: int,
) -> Ran:
    provider.reset_invoice()
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        process = _start(subject, provider, source, concurrency, directory)
        most = _Memory(process.pid)
        _wait(process, subject)
        seconds = time.perf_counter() - started
        _check(Path(directory) / "out.jsonl", rows, subject)
    return Ran(seconds, most.end())


def _after_a_kill(
    subject: Subject,
    provider: Simulator,
    source: Path,
    concurrency: int,
    rows: int,
) -> int:
    """Return how many calls were made more than once."""
    provider.reset_invoice()
    with tempfile.TemporaryDirectory() as directory:
        process = _start(subject, provider, source, concurrency, directory)
        while _asked(provider) < rows // 2 and process.poll() is None:
            time.sleep(_SAMPLE_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process = _start(subject, provider, source, concurrency, directory)
        _wait(process, subject)
        _check(Path(directory) / "out.jsonl", rows, subject)
    return _asked(provider) - rows


def _start(
    subject: Subject,
    provider: Simulator,
    source: Path,
    concurrency: int,
    directory: str,
) -> subprocess.Popen[bytes]:
    url = provider.base_urls["OpenAI"]
    variables = {
        **os.environ,
        "OPENAI_API_KEY": "x",
        "PYTHONPATH": str(_ROOT),
        # What others keep is as new as what we keep.
        "CURATOR_CACHE_DIR": directory,
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
        "TELEMETRY_ENABLED": "false",
        "HF_HOME": directory,
        "HF_HUB_OFFLINE": "1",
        # Curator counts tokens with a table that comes with litellm.
        "TIKTOKEN_CACHE_DIR": _tokenizers(),
    }
    with (Path(directory) / "log").open("ab") as log:
        return subprocess.Popen(
            subject.command(url, source, concurrency),
            cwd=directory,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _tokenizers() -> str:
    found = _CURATOR.parent.parent.glob(
        "lib/python*/site-packages/litellm/litellm_core_utils/tokenizers"
    )
    return str(next(found, ""))


def _wait(process: subprocess.Popen[bytes], subject: Subject) -> None:
    if process.wait(_LONGEST_SECONDS):
        raise SystemExit(f"{subject.name} ended with {process.returncode}")


def _check(path: Path, rows: int, subject: Subject) -> None:
    lines = path.read_bytes().count(b"\n")
    if lines != rows:
        raise SystemExit(f"{subject.name} has written {lines} rows")


def _asked(provider: Simulator) -> int:
    return int(provider.invoice()["total"]["requests"])


class _Memory:
    """The most that a process and its children have held at once."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> float:
        """Return it, in MiB."""
        self._ended.set()
        self._thread.join()
        return self._most / _MEBIBYTE

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            with suppress(psutil.NoSuchProcess):
                root = psutil.Process(self._pid)
                held = 0
                for each in (root, *root.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        held += each.memory_info().rss
                self._most = max(self._most, held)


def _table(
    subjects: Sequence[Subject],
    ran: dict[str, list[Ran]],
    again: dict[str, int],
    rows: int,
    concurrency: int,
) -> Table:
    table = Table(
        title=f"{rows:,} rows, {concurrency} calls at once, {LATENCY_MS} ms "
        "an answer; whole processes, medians"
    )
    table.add_column("")
    for name in ("seconds", "rows/s", "ratio", "MiB", "asked twice", "lines"):
        table.add_column(name, justify="right")
    base = statistics.median(each.seconds for each in ran[subjects[0].name])
    for each in subjects:
        seconds = statistics.median(one.seconds for one in ran[each.name])
        held = statistics.median(one.megabytes for one in ran[each.name])
        table.add_row(
            each.name,
            f"{seconds:.1f}",
            f"{rows / seconds:,.0f}",
            f"{base / seconds:.2f}",
            f"{held:,.0f}",
            f"{again[each.name]:,}",
            f"{each.lines}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
