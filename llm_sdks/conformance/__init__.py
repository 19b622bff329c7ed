"""What every plug-in must do, as a table of checks that anybody can run.

A check drives a plug-in against a stand-in of its provider, which the
plug-in's author supplies (`StandIn`). It needs no test framework; with
pytest it takes a few lines (`docs/writing-a-plugin.md`).
"""

from llm_sdks import errors
from llm_sdks.conformance.bench import Bench, ConformanceError
from llm_sdks.conformance.cases import CASES, Case
from llm_sdks.conformance.stand_in import (
    Answers,
    Behaviour,
    BreaksOff,
    CallsTool,
    Embeds,
    Fails,
    FailsMidway,
    Filters,
    Hangs,
    NotSupportedError,
    RefusesTemperature,
    StandIn,
    TalksNonsense,
    Truncates,
)

__all__ = [
    "CASES",
    "Answers",
    "Behaviour",
    "BreaksOff",
    "CallsTool",
    "Case",
    "ConformanceError",
    "Embeds",
    "Fails",
    "FailsMidway",
    "Filters",
    "Hangs",
    "NotSupportedError",
    "RefusesTemperature",
    "StandIn",
    "TalksNonsense",
    "Truncates",
    "check",
    "run",
]


async def check(case: Case, stand_in: StandIn) -> None:
    """Run one check.

    Raises:
        ConformanceError: the plug-in fails it.
        NotSupportedError: the stand-in cannot play its part.
    """
    bench = Bench(stand_in)
    try:
        await case.check(bench)
    finally:
        await bench.sdk.aclose()


async def run(stand_in: StandIn) -> dict[str, str]:
    """Run every check; tell what went wrong, by the check's name."""
    problems = {}
    for case in CASES:
        try:
            await check(case, stand_in)
        except NotSupportedError:
            continue
        except (ConformanceError, errors.LLMError) as error:
            problems[case.name] = f"{type(error).__name__}: {error}"
    return problems
