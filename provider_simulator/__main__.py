"""The simulator as a child process.

`python -m provider_simulator [--port N]` writes one line
`{"port": N}` to stdout when it accepts calls on 127.0.0.1. It ends on
SIGTERM and when its stdin ends, so that it never outlives the process that
holds the other end of that pipe. People use `metasync simulate`.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path

import uvloop
from pydantic_core import from_json

from provider_simulator.script import Rule, read_script
from provider_simulator.server import end_signal, serving
from provider_simulator.settings import SimulatorSettings
from provider_simulator.simulation import Simulation


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=Path)
    parser.add_argument("--settings", type=from_json, default={})
    return parser.parse_args()


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(
    settings: SimulatorSettings, rules: list[Rule], port: int
) -> None:
    # Before anybody can know of us, and end us.
    ended = end_signal([signal.SIGTERM])
    simulation = Simulation(settings, rules)
    async with serving(simulation, "127.0.0.1", port) as address:
        sys.stdout.write(json.dumps({"port": address.port}) + "\n")
        sys.stdout.flush()
        threading.Thread(target=_end_with_stdin, daemon=True).start()
        await ended.wait()


def main() -> int:
    """Serve until stdin ends; return the exit status."""
    # Ctrl-C reaches the whole process group: the parent decides the order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options = _parse()
    settings = SimulatorSettings.read(options.settings)
    rules = read_script(options.script) if options.script else []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, rules, options.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
