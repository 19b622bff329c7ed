"""What a gateway adds to a call, and how many calls it takes.

Metasync, LiteLLM's proxy and Portkey's gateway stand before the same
simulated provider, one after the other, on the same cores. First one
connection makes calls to a provider that answers at once: what the gateway
adds is the difference to the provider alone. Then more and more connections
make calls to a provider that takes 20 ms: the highest rate counts at which
99 % of the answers come within the bound.

Metasync has limits, budgets and records on; in its second row, the records
are without the texts, as those of the others. LiteLLM has limits, in memory;
its budgets and records need a PostgreSQL server. Portkey's open gateway has
none of the three.

    python -m benchmarks.gateway [--seconds 5] [--size 1 --size 50]
"""

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import psutil
import typer
import uvloop
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from benchmarks.bare_clients import MODEL
from benchmarks.http_load import Target, WrongAnswerError, load
from benchmarks.service import LIMITED, cpu_of, running_service
from provider_simulator.running import Simulator, running_simulator

_PROVIDER_MS = 20
_BOUND_MS = 100.0
_CONNECTIONS = (8, 16, 32, 64, 128, 256)
_START_SECONDS = 120.0
_VENV = Path(sys.prefix)
_LITELLM = _VENV / "litellm" / "bin" / "litellm"
_PORTKEY = (
    _VENV / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
)
_PATH = "/v1/chat/completions"
_WORDS = "The quick brown fox jumps over the lazy dog. "


@dataclass(frozen=True, slots=True)
class Gateway:
    """One that runs: where calls go, and with which headers."""

    url: str
    headers: dict[str, str]
    # Reads the processor's time (s) that it has used so far.
    used: Callable[[], float]

    def target(self, kilobytes: int) -> Target:
        """Give a call with a prompt of a size."""
        text = _WORDS * (kilobytes * 1000 // len(_WORDS) + 1)
        message = {"role": "user", "content": text[: kilobytes * 1000]}
        body = {"model": MODEL, "messages": [message], "max_tokens": 50}
        return Target(self.url + _PATH, to_json(body), self.headers)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured with one size of prompts; times in ms."""

    median: float
    most: float
    rate: float
    connections: int
    cpu: float


@contextlib.contextmanager
def _provider_alone(simulator: Simulator) -> Iterator[Gateway]:
    yield Gateway(simulator.url, {"Authorization": "Bearer x"}, lambda: 0.0)


@contextlib.contextmanager
def _metasync(
    simulator: Simulator, *, keeps_texts: bool = True, processes: int = 1
) -> Iterator[Gateway]:
    with (
        tempfile.TemporaryDirectory() as directory,
        running_service(
            Path(directory),
            simulator.base_urls["OpenAI"],
            limited=True,
            processes=processes,
        ) as service,
    ):
        settings = {"keepTexts": keeps_texts}
        made = service.admin.post(
            "/clients", {"name": "bench", "gateway": settings, **LIMITED}
        )
        headers = {"Authorization": f"Bearer {made['token']}"}

        def used() -> float:
            parts = service.used()
            return parts.api + parts.workers + parts.database

        yield Gateway(service.admin.base_url, headers, used)


@contextlib.contextmanager
def _litellm(simulator: Simulator) -> Iterator[Gateway]:
    port = _free_port()
    limits = {"rpm": 1_000_000, "tpm": 1_000_000_000}
    parameters = {
        "model": f"openai/{MODEL}",
        "api_base": simulator.base_urls["OpenAI"],
        "api_key": "x",
        **limits,
    }
    models = [{"model_name": MODEL, "litellm_params": parameters}]
    settings = {
        "model_list": models,
        "general_settings": {"master_key": "sk-bench"},
        "litellm_settings": {"telemetry": False},
    }
    with tempfile.TemporaryDirectory() as directory:
        # YAML is a superset of JSON.
        config = Path(directory, "config.yaml")
        config.write_bytes(to_json(settings))
        command = [
            str(_LITELLM),
            "--config",
            str(config),
            "--port",
            str(port),
            "--host",
            "127.0.0.1",
            "--num_workers",
            "1",
        ]
        variables = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
        }
        with _process(command, port, variables) as used:
            yield Gateway(
                f"http://127.0.0.1:{port}",
                {"Authorization": "Bearer sk-bench"},
                used,
            )


@contextlib.contextmanager
def _portkey(simulator: Simulator) -> Iterator[Gateway]:
    port = _free_port()
    node = shutil.which("node") or "node"
    command = [node, str(_PORTKEY), f"--port={port}", "--headless"]
    variables = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    with _process(command, port, variables) as used:
        yield Gateway(
            f"http://127.0.0.1:{port}",
            {
                "Authorization": "Bearer x",
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": simulator.base_urls["OpenAI"],
            },
            used,
        )


_GATEWAYS: dict[
    str,
    tuple[
        Callable[[Simulator], contextlib.AbstractContextManager[Gateway]],
        Path | None,
    ],
] = {
    "Metasync": (_metasync, None),
    "Metasync, no texts": (partial(_metasync, keeps_texts=False), None),
    "Metasync, no texts, 2 processes": (
        partial(_metasync, keeps_texts=False, processes=2),
        None,
    ),
    "litellm": (_litellm, _LITELLM),
    "@portkey-ai/gateway": (_portkey, _PORTKEY),
}


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def _process(
    command: Sequence[str], port: int, variables: dict[str, str]
) -> Iterator[Callable[[], float]]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, **variables},
        )
        try:
            _wait_for(process, port)
            watched = psutil.Process(process.pid)
            yield lambda: cpu_of(watched)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} has ended")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"{process.args!r} does not listen")


def _measure(
    gateway: Gateway, simulator: Simulator, kilobytes: int, seconds: float
) -> Measured:
    target = gateway.target(kilobytes)
    simulator.configure(latency_ms=0)
    alone = uvloop.run(load(target, 1, seconds, 1.0))
    simulator.configure(latency_ms=_PROVIDER_MS)
    rate, connections, cpu = _highest_rate(gateway, target, seconds)
    return Measured(
        statistics.median(alone) * 1000, _p99(alone), rate, connections, cpu
    )


def _highest_rate(
    gateway: Gateway, target: Target, seconds: float
) -> tuple[float, int, float]:
    """Return the rate, its connections, and the processor's ms a call."""
    best, at, cpu = 0.0, 0, 0.0
    for connections in _CONNECTIONS:
        before = gateway.used()
        # Without a time to warm up, so that the processor's time is that of
        # the counted calls.
        taken = uvloop.run(load(target, connections, seconds, 0.0))
        used = (gateway.used() - before) / max(len(taken), 1) * 1000
        cpu = cpu or used
        rate = len(taken) / seconds
        if len(taken) < 2 or _p99(taken) > _BOUND_MS or rate < best * 0.9:
            break
        if rate > best:
            best, at, cpu = rate, connections, used
    return best, at, cpu


def _p99(taken: Sequence[float]) -> float:
    return statistics.quantiles(taken, n=100)[-1] * 1000


def main(
    seconds: Annotated[float, typer.Option(min=1)] = 5.0,
    size: Annotated[list[int] | None, typer.Option(min=1)] = None,
    only: Annotated[list[str] | None, typer.Option()] = None,
) -> None:
    """Measure and print a table; sizes in kB."""
    sizes, console = size or [1, 50, 400], Console()
    names = only or list(_GATEWAYS)
    results: dict[str, list[Measured]] = {}
    with running_simulator(process=True) as simulator:
        with _provider_alone(simulator) as gateway:
            results[_ALONE] = [
                _measure(gateway, simulator, each, seconds) for each in sizes
            ]
        for name in names:
            start, needed = _GATEWAYS[name]
            if needed is not None and not needed.exists():
                console.print(f"{name} is not installed; its row is left out.")
                continue
            try:
                with start(simulator) as gateway:
                    results[name] = [
                        _measure(gateway, simulator, each, seconds)
                        for each in sizes
                    ]
            except (WrongAnswerError, RuntimeError) as error:
                console.print(f"{name}: {error}")
    _print(console, results, sizes, seconds)


_ALONE = "the provider alone"


def _print(
    console: Console,
    results: dict[str, list[Measured]],
    sizes: Sequence[int],
    seconds: float,
) -> None:
    table = Table(title=f"Gateways, {seconds:g} s a measurement")
    headings = (
        "",
        "prompt kB",
        "added ms, median",
        "added ms, 99 %",
        f"calls/s at {_PROVIDER_MS} ms",
        "connections",
        "CPU ms a call",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    alone = results[_ALONE]
    for name, measured in results.items():
        for kilobytes, each, base in zip(sizes, measured, alone, strict=True):
            is_base = name == _ALONE
            table.add_row(
                name,
                str(kilobytes),
                f"{each.median - (0 if is_base else base.median):.2f}",
                f"{each.most - (0 if is_base else base.most):.2f}",
                f"{each.rate:,.0f}",
                str(each.connections),
                f"{each.cpu:.2f}",
            )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
