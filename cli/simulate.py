"""`metasync simulate`: its options and its help."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError

_TIME = "Time"
_LIMITS = "Limits"
_ANSWERS = "Answers"
_FAILURES = "Failures"
# The simulator's own, which take too long to import for `--help` alone.
DEFAULTS = {
    "retry_after_seconds": 1.0,
    "idempotency_entries": 1000,
    "idempotency_seconds": 300.0,
}
FAILURES = (
    "server_error",
    "overloaded",
    "rate_limited",
    "prompt_filter",
    "content_filter",
    "reset",
    "hang",
    "truncated",
    "invalid_json",
    "stream_error",
)


class Distribution(StrEnum):
    """How the time before an answer varies from call to call."""

    FIXED = "fixed"
    NORMAL = "normal"
    LOGNORMAL = "lognormal"
    UNIFORM = "uniform"
    EXPONENTIAL = "exponential"


def simulate(
    host: Annotated[
        str, typer.Option(help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0: any free port.")
    ] = 8090,
    script: Annotated[
        Path | None,
        typer.Option(
            help="A JSON or JSONL file with answers by pattern.",
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
    cache_write_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="The part reported as written to a cache (Anthropic).",
            rich_help_panel=_ANSWERS,
        ),
    ] = 0,
    reasoning_tokens: Annotated[
        int,
        typer.Option(
            min=0,
            help="Reported in addition to an answer's tokens.",
            rich_help_panel=_ANSWERS,
        ),
    ] = 0,
    latency_ms: Annotated[
        float,
        typer.Option(
            min=0,
            help="Mean time before an answer.",
            rich_help_panel=_TIME,
        ),
    ] = 0,
    latency_distribution: Annotated[
        Distribution,
        typer.Option(help="The form of its variation.", rich_help_panel=_TIME),
    ] = Distribution.FIXED,
    latency_spread_ms: Annotated[
        float,
        typer.Option(
            min=0,
            help="Standard deviation; for uniform, half the width.",
            rich_help_panel=_TIME,
        ),
    ] = 0,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(
            help="The speed of a stream. Default: all at once.",
            rich_help_panel=_TIME,
        ),
    ] = None,
    concurrency_limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Calls processed at once; others wait.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    requests_per_second: Annotated[
        int | None,
        typer.Option(
            min=1, help="Other calls get 429.", rich_help_panel=_LIMITS
        ),
    ] = None,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(
            min=1, help="Other calls get 429.", rich_help_panel=_LIMITS
        ),
    ] = None,
    time_limit_ms: Annotated[
        float | None,
        typer.Option(
            help="For one call, including waiting; then 408.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            help="Refuse calls without this key. Default: accept any key.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    failure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=PROBABILITY",
            help=f"Can be given several times: {', '.join(FAILURES)}.",
            rich_help_panel=_FAILURES,
        ),
    ] = None,
    retry_after_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            help="Retry-After of the failure rate_limited.",
            rich_help_panel=_FAILURES,
        ),
    ] = DEFAULTS["retry_after_seconds"],
    seed: Annotated[
        int,
        typer.Option(
            help="The same seed gives the same latencies and failures.",
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
    ] = int(DEFAULTS["idempotency_entries"]),
    idempotency_seconds: Annotated[
        float,
        typer.Option(
            min=0, help="How long they are kept.", rich_help_panel=_ANSWERS
        ),
    ] = DEFAULTS["idempotency_seconds"],
) -> None:
    """Stand in for OpenAI, Azure, Anthropic and Gemini: no key, no cost.

    Answers with an echo, with an instance of the call's JSON schema, or
    by a script, as slowly and unreliably as you like. Everything can
    also be changed while it runs: see docs/simulator.md.

    Example: metasync simulate --latency-ms 800 --latency-distribution
    lognormal --latency-spread-ms 400 --failure rate_limited=0.02
    """
    # An option has the name of the setting that it sets.
    options = {
        name: value
        for name, value in locals().items()
        if name not in {"host", "port", "script", "failure"}
    }
    failures = dict(map(_failure, failure or []))
    from cli import simulator  # noqa: PLC0415 - see DEFAULTS

    simulator.run({**options, "failures": failures}, script, host, port)


def _failure(text: str) -> tuple[str, float]:
    kind, _, probability = text.partition("=")
    try:
        return kind, float(probability)
    except ValueError:
        raise CommandError(
            f"--failure {text}: write KIND=PROBABILITY, such as reset=0.01"
        ) from None
