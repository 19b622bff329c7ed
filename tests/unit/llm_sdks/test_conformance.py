from collections.abc import Iterator

import pytest

from llm_sdks import conformance
from llm_sdks.conformance import CASES, Answers, Case, NotSupportedError
from llm_sdks.conformance.bench import Bench
from provider_simulator.running import Simulator, running_simulator
from tests.support.simulated_provider import SimulatedProvider

PROVIDERS = [
    "Anthropic",
    "AzureOpenAI",
    "ChatCompletionsClient",
    "Gemini",
    "OpenAI",
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_every_provider_does_what_it_must(
    simulator: Simulator, provider: str, case: Case
) -> None:
    try:
        await conformance.check(case, SimulatedProvider(provider, simulator))
    except NotSupportedError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_two_calls_with_one_key_are_one_to_who_knows_keys(
    simulator: Simulator, provider: str
) -> None:
    stand_in = SimulatedProvider(provider, simulator)
    stand_in.behave(Answers())
    bench = Bench(stand_in)
    for key in (f"{provider}-1", f"{provider}-1", f"{provider}-2"):
        await bench.whole(bench.request(idempotency_key=key))
    await bench.sdk.aclose()
    assert simulator.stats()["duplicates"] == 1
