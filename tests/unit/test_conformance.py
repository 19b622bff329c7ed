from collections.abc import Iterator

import pytest

from llm_sdks import conformance
from llm_sdks.conformance import CASES, Case, NotSupportedError
from tests.support.simulated_provider import SimulatedProvider
from utilities.provider_simulator.running import Simulator, running_simulator

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
