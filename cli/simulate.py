"""`metasync simulate`: a stand-in for providers, on this machine."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from cli.errors import CommandError
from provider_simulator.script import Rule, read_script
from provider_simulator.server import (
    Address,
    end_signal,
    serving,
)
from provider_simulator.settings import (
    FailureKind,
    LatencyDistribution,
    SimulatorError,
    SimulatorSettings,
)
from provider_simulator.simulation import Simulation

_TIME = "Time"
_LIMITS = "Limits"
_ANSWERS = "Answers"
_FAILURES = "Failures"
_DEFAULTS = SimulatorSettings()

console = Console()


def simulate(
    host: Annotated[
        str, typer.Option(help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 is a free one.")
    ] = 8090,
    script: Annotated[
        Path | None,
        typer.Option(
            help="A JSON or JSONL file of answers by pattern.",
            rich_help_panel=_ANSWERS,
        ),
    ] = None,
    cached_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="The part of a prompt reported as read from a cache.",
            rich_help_panel=_ANSWERS,
        ),
    ] = 0,
    reasoning_tokens: Annotated[
        int,
        typer.Option(
            min=0,
            help="Reported on top of an answer's tokens.",
            rich_help_panel=_ANSWERS,
        ),
    ] = 0,
    latency_ms: Annotated[
        float,
        typer.Option(
            min=0,
            help="Time before an answer, on average.",
            rich_help_panel=_TIME,
        ),
    ] = 0,
    latency_distribution: Annotated[
        LatencyDistribution,
        typer.Option(help="How it varies.", rich_help_panel=_TIME),
    ] = LatencyDistribution.FIXED,
    latency_spread_ms: Annotated[
        float,
        typer.Option(
            min=0,
            help="Standard deviation; of uniform, half the width.",
            rich_help_panel=_TIME,
        ),
    ] = 0,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(
            help="The pace of a stream; else all at once.",
            rich_help_panel=_TIME,
        ),
    ] = None,
    concurrency_limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Calls worked on at once; more of them wait.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    requests_per_second: Annotated[
        int | None,
        typer.Option(min=1, help="More get a 429.", rich_help_panel=_LIMITS),
    ] = None,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(min=1, help="More get a 429.", rich_help_panel=_LIMITS),
    ] = None,
    time_limit_ms: Annotated[
        float | None,
        typer.Option(
            help="For one call, waiting included; then 408.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            help="Refuse calls without this key; else any will do.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    failure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=PROBABILITY",
            help=f"Can be given several times: {', '.join(FailureKind)}.",
            rich_help_panel=_FAILURES,
        ),
    ] = None,
    retry_after_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            help="What rate_limited asks for.",
            rich_help_panel=_FAILURES,
        ),
    ] = _DEFAULTS.retry_after_seconds,
    seed: Annotated[
        int,
        typer.Option(
            help="The same seed draws the same latencies and failures.",
            rich_help_panel=_FAILURES,
        ),
    ] = 0,
    idempotency_entries: Annotated[
        int,
        typer.Option(
            min=0,
            help="Answers kept for calls with the same X-Request-ID or "
            "Idempotency-Key.",
            rich_help_panel=_ANSWERS,
        ),
    ] = _DEFAULTS.idempotency_entries,
    idempotency_seconds: Annotated[
        float,
        typer.Option(
            min=0, help="How long they are kept.", rich_help_panel=_ANSWERS
        ),
    ] = _DEFAULTS.idempotency_seconds,
) -> None:
    """Stand in for OpenAI, Azure, Anthropic and Gemini: no key, no cost.

    Answers with an echo, with an instance of the call's JSON schema, or
    by a script, as slowly and unreliably as you like. Everything can
    also be changed while it runs: see docs/simulator.md.

    Example: metasync simulate --latency-ms 800 --latency-distribution
    lognormal --latency-spread-ms 400 --failure rate_limited=0.02
    """
    # An option has the name of the setting that it sets.
    values: dict[str, Any] = {
        name: value
        for name, value in locals().items()
        if name in SimulatorSettings.model_fields
    }
    failures = dict(map(_failure, failure or []))
    try:
        settings = SimulatorSettings.read({**values, "failures": failures})
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
    async with serving(simulation, host, port) as address:
        _introduce(address)
        await ended.wait()
    _say("Stopped.")


def _introduce(address: Address) -> None:
    _say(f"Simulating LLM providers on {address.url}; Ctrl-C ends it.")
    _say("A model's sdk and endpoint:")
    for sdk, url in address.base_urls().items():
        _say(f"  {sdk:<22} {url}")
    body = '{"model": "any", "messages": [{"role": "user", "content": "Hi"}]}'
    _say(f"Try it: curl {address.url}/v1/chat/completions -d '{body}'")


def _failure(text: str) -> tuple[str, float]:
    kind, _, probability = text.partition("=")
    try:
        return kind, float(probability)
    except ValueError:
        raise CommandError(
            f"--failure {text}: write KIND=PROBABILITY, such as reset=0.01"
        ) from None


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
