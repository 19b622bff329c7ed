"""What the vendors' libraries read from the environment and send.

They add headers of the environment to every request: those of
`OPENAI_CUSTOM_HEADERS` and `ANTHROPIC_CUSTOM_HEADERS`, often the token of a
gateway, and the organization and project of OpenAI. These are meant for the
vendor, or for the address that the environment names. A model with another
address must not get them.
"""

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.passing import Origin

_VARIABLES: Final = ("OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS")
_FURTHER: Final = ("OpenAI-Organization", "OpenAI-Project")
_VENDORS: Final = ("api.openai.com", "api.anthropic.com")


def default_headers(
    library: ModuleType, config: LLMConfig, credential: Mapping[str, str]
) -> dict[str, Any]:
    """Give a client's headers, which leave the environment's out if needed.

    `credential` is the header with the model's key, which the environment
    could otherwise replace.
    """
    host = urlsplit(config.endpoint).hostname
    if not config.endpoint or host in _VENDORS:
        return {}
    known: Any = library
    names = {*_FURTHER, *_named_by_environment()}
    own = {name.lower(): value for name, value in credential.items()}
    return {name: own.get(name.lower(), known.Omit()) for name in names}


def base_url(endpoint: str, origin: Origin) -> str:
    """Give a model's base URL, as its vendor's library finds it."""
    return endpoint or os.environ.get(origin.variable) or origin.url


def _named_by_environment() -> set[str]:
    lines = [
        line
        for variable in _VARIABLES
        for line in os.environ.get(variable, "").split("\n")
    ]
    # As the libraries read them.
    return {line.partition(":")[0].strip() for line in lines if ":" in line}
