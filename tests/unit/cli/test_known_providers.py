import pytest

from cli.known_providers import Place, place_of
from llm_sdks.registry import SdkRegistry


@pytest.mark.parametrize(
    ("name", "sdk", "variable", "deployment"),
    [
        ("gpt-4o-mini", "OpenAI", "OPENAI_API_KEY", "gpt-4o-mini"),
        ("o3", "OpenAI", "OPENAI_API_KEY", "o3"),
        ("Claude-Sonnet-4-5", "Anthropic", "ANTHROPIC_API_KEY", None),
        ("gemini-2.5-flash", "Gemini", "GEMINI_API_KEY", None),
        ("deepseek-chat", "OpenAI", "DEEPSEEK_API_KEY", None),
        ("openai/gpt-5", "OpenAI", "OPENAI_API_KEY", "gpt-5"),
        (
            "openrouter/openai/gpt-5",
            "OpenAI",
            "OPENROUTER_API_KEY",
            "openai/gpt-5",
        ),
        ("groq/llama-3.3-70b", "OpenAI", "GROQ_API_KEY", "llama-3.3-70b"),
    ],
)
def test_common_models_are_known(
    name: str, sdk: str, variable: str, deployment: str | None
) -> None:
    place = place_of(name)
    assert place is not None
    assert (place.sdk, place.key_variable) == (sdk, variable)
    assert place.deployment == (deployment or name)
    assert SdkRegistry.discover().create(place.sdk).get_name() == sdk


@pytest.mark.parametrize("name", ["mine", "groq/", "/gpt-4o", "llama/x", ""])
def test_others_are_not(name: str) -> None:
    assert place_of(name) is None


def test_hosts_have_an_address() -> None:
    place = place_of("xai/grok-4")
    assert place == Place(
        "OpenAI", "XAI_API_KEY", "https://api.x.ai/v1", "grok-4"
    )
