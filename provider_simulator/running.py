"""A simulator beside other code: in a thread, or as a child process."""

import asyncio
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import uvloop
from pydantic_core import from_json, to_json

from provider_simulator.script import Rule
from provider_simulator.server import Address, serving
from provider_simulator.settings import (
    SimulatorError,
    SimulatorSettings,
)
from provider_simulator.simulation import Simulation
from utilities.server_process import ServerProcess

_HOST = "127.0.0.1"
_START_SECONDS = 30.0
_REFUSED = 400


class Simulator:
    """A simulator that runs: where it is, and its controls."""

    def __init__(self, address: Address) -> None:
        self.url = address.url
        # What to put into a model's `endpoint`, by its `sdk`.
        self.base_urls = address.base_urls()
        self._address = address

    def configure(self, **changes: object) -> None:
        """Change settings.

        Raises:
            SimulatorError: a name or a value is not valid.
        """
        self._control("PATCH", "/settings", changes)

    def script(self, *rules: Mapping[str, Any]) -> None:
        """Replace the table of answers.

        Raises:
            SimulatorError: a rule is not valid.
        """
        self._control("PUT", "/script", rules)

    def fail_next(self, count: int) -> None:
        """Fail a number of the next calls."""
        self._control("POST", f"/fail/count/{count}")

    def fail_for(self, seconds: float) -> None:
        """Fail every call for so long."""
        self._control("POST", f"/fail/duration/{seconds}")

    def reset_failures(self) -> None:
        """Fail no more."""
        self._control("POST", "/fail/reset")

    def stats(self) -> dict[str, Any]:
        """Return what it has seen and done."""
        return self._control("GET", "/stats")

    def reset_stats(self) -> None:
        """Begin to count anew."""
        self._control("POST", "/stats/reset")

    def invoice(self) -> dict[str, Any]:
        """Return what it would bill."""
        return self._control("GET", "/invoice")

    def reset_invoice(self) -> None:
        """Begin an invoice anew."""
        self._control("POST", "/invoice/reset")

    def _control(
        self, method: str, path: str, body: object = None
    ) -> dict[str, Any]:
        connection = HTTPConnection(
            self._address.host, self._address.port, timeout=_START_SECONDS
        )
        try:
            connection.request(method, path, to_json(body))
            response = connection.getresponse()
            answer = from_json(response.read())
        finally:
            connection.close()
        if response.status >= _REFUSED:
            raise SimulatorError(answer["detail"])
        return dict(answer) if isinstance(answer, dict) else {}


@contextmanager
def running_simulator(
    settings: SimulatorSettings | None = None,
    rules: Sequence[Rule] = (),
    *,
    process: bool = False,
    port: int = 0,
) -> Iterator[Simulator]:
    """Run a simulator on 127.0.0.1 until the block ends.

    Args:
        settings: how it behaves at first.
        rules: the table of answers at first.
        process: in a process of its own, for a benchmark, rather than in
            a thread of this one.
        port: TCP port; 0 is a free one.

    Raises:
        SimulatorError: it cannot run.
    """
    settings = settings or SimulatorSettings()
    run = _in_process if process else _in_thread
    with run(settings, rules, port) as address:
        yield Simulator(address)


@contextmanager
def _in_thread(
    settings: SimulatorSettings, rules: Sequence[Rule], port: int
) -> Iterator[Address]:
    started: Future[Address] = Future()
    loop = uvloop.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        try:
            simulation = Simulation(settings, rules)
            async with serving(simulation, _HOST, port) as address:
                started.set_result(address)
                await ended.wait()
        except SimulatorError as error:
            started.set_exception(error)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="simulator", daemon=True)
    thread.start()
    try:
        yield started.result(_START_SECONDS)
    finally:
        # One that could not start has closed its loop.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)
        thread.join()


@contextmanager
def _in_process(
    settings: SimulatorSettings, rules: Sequence[Rule], port: int
) -> Iterator[Address]:
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "script.json")
        rows = [rule.model_dump(by_alias=True) for rule in rules]
        script.write_bytes(to_json(rows))
        arguments = [
            f"--port={port}",
            f"--script={script}",
            f"--settings={settings.model_dump_json()}",
        ]
        server = ServerProcess(
            "provider_simulator",
            arguments,
            Path(directory, "simulator.log"),
        )
        try:
            yield Address(_HOST, server.accepting(_START_SECONDS))
        finally:
            server.end()
