"""OpenAI's library."""

import openai

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.wires.stainless import StainlessWire, options
from llm_sdks.wires.wire import Wire


def connect(config: LLMConfig, _connect_timeout: float) -> Wire:
    """Make a client for OpenAI or a compatible server."""
    client = openai.AsyncOpenAI(
        api_key=config.api_key.get_secret_value(),
        base_url=config.endpoint or None,
        **options(openai.DefaultAioHttpClient),
    )
    return StainlessWire(openai, client, "/chat/completions", config)
