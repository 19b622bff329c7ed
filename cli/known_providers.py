"""Where common models are to be had, by their names."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """How a provider is reached; `deployment` is its name of the model."""

    sdk: str
    key_variable: str
    endpoint: str = ""
    deployment: str = ""


_OPENAI = Place("OpenAI", "OPENAI_API_KEY")
# Providers with OpenAI's interface, by the prefix of a name such as
# `groq/llama-3.3-70b-versatile`.
_HOSTS = {
    "cerebras": Place(
        "OpenAI", "CEREBRAS_API_KEY", "https://api.cerebras.ai/v1"
    ),
    "deepinfra": Place(
        "OpenAI", "DEEPINFRA_API_KEY", "https://api.deepinfra.com/v1/openai"
    ),
    "deepseek": Place(
        "OpenAI", "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1"
    ),
    "fireworks": Place(
        "OpenAI",
        "FIREWORKS_API_KEY",
        "https://api.fireworks.ai/inference/v1",
    ),
    "groq": Place("OpenAI", "GROQ_API_KEY", "https://api.groq.com/openai/v1"),
    "mistral": Place("OpenAI", "MISTRAL_API_KEY", "https://api.mistral.ai/v1"),
    "ollama": Place("OpenAI", "OLLAMA_API_KEY", "http://127.0.0.1:11434/v1"),
    "openrouter": Place(
        "OpenAI", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"
    ),
    "together": Place(
        "OpenAI", "TOGETHER_API_KEY", "https://api.together.xyz/v1"
    ),
    "xai": Place("OpenAI", "XAI_API_KEY", "https://api.x.ai/v1"),
}
_VENDORS = {
    "anthropic": Place("Anthropic", "ANTHROPIC_API_KEY"),
    "gemini": Place("Gemini", "GEMINI_API_KEY"),
    "google": Place("Gemini", "GEMINI_API_KEY"),
    "openai": _OPENAI,
}
_BY_NAME = tuple(
    (re.compile(pattern), place)
    for pattern, place in (
        (r"(gpt-|chatgpt-|o\d|text-embedding-)", _OPENAI),
        (r"claude-", _VENDORS["anthropic"]),
        (r"gemini-", _VENDORS["gemini"]),
        (r"deepseek-", _HOSTS["deepseek"]),
        (r"grok-", _HOSTS["xai"]),
        (
            r"(mi[sx]tral|ministral|codestral|pixtral|magistral)",
            _HOSTS["mistral"],
        ),
    )
)
PREFIXES = tuple(sorted({*_HOSTS, *_VENDORS}))


def place_of(name: str) -> Place | None:
    """Tell where a model is to be had; None if that is not known."""
    prefix, slash, rest = name.partition("/")
    host = (_HOSTS | _VENDORS).get(prefix.lower()) if slash else None
    if host is not None and rest:
        return Place(host.sdk, host.key_variable, host.endpoint, rest)
    for pattern, place in _BY_NAME:
        if pattern.match(name.lower()):
            return Place(place.sdk, place.key_variable, place.endpoint, name)
    return None
