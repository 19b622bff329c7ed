"""`metasync simulate`: a stand-in for providers, on this machine."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import uvloop

from cli.errors import CommandError
from cli.terminal import Terminal, say
from provider_simulator.script import Rule, read_script
from provider_simulator.server import Address, end_signal, serving
from provider_simulator.settings import SimulatorError, SimulatorSettings
from provider_simulator.simulation import Simulation


def run(
    options: Mapping[str, object], script: Path | None, host: str, port: int
) -> None:
    """Serve until a signal ends it.

    Raises:
        CommandError: it cannot; says what to do.
    """
    try:
        settings = SimulatorSettings.read(options)
        rules = read_script(script) if script else []
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, rules, host, port))
    except SimulatorError as error:
        raise CommandError(str(error)) from None


async def _serve(
    settings: SimulatorSettings, rules: list[Rule], host: str, port: int
) -> None:
    # Before anybody can know of us, and end us.
    ended = end_signal()
    simulation = Simulation(settings, rules)
    terminal = Terminal()
    async with serving(simulation, host, port) as address:
        _introduce(terminal, address)
        await ended.wait()
    say(terminal, "Stopped.")


def _introduce(terminal: Terminal, address: Address) -> None:
    say(
        terminal,
        f"Simulating LLM providers on {address.url}; Ctrl-C ends it.",
    )
    say(terminal, "A model's sdk and endpoint:")
    for sdk, url in address.base_urls().items():
        say(terminal, f"  {sdk:<22} {url}")
    body = '{"model": "any", "messages": [{"role": "user", "content": "Hi"}]}'
    say(
        terminal,
        f"Try it: curl {address.url}/v1/chat/completions -d '{body}'",
    )
