"""OpenAI's library."""

import openai

from llm_sdks._shared.stainless import StainlessWire, options
from llm_sdks._shared.wire import Wire
from llm_sdks.base_sdk import LLMConfig


def connect(config: LLMConfig, _connect_timeout: float) -> Wire:
    """Make a client for OpenAI or whoever speaks its language."""
    client = openai.AsyncOpenAI(
        api_key=config.api_key.get_secret_value(),
        base_url=config.endpoint or None,
        **options(openai.DefaultAioHttpClient),
    )
    return StainlessWire(openai, client, "/chat/completions", config)
