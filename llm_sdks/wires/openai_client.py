"""OpenAI's library."""

import openai

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.wires.environment import default_headers
from llm_sdks.wires.stainless import StainlessWire, options
from llm_sdks.wires.wire import Wire


def connect(config: LLMConfig, _connect_timeout: float) -> Wire:
    """Make a client for OpenAI or a compatible server."""
    key = config.api_key.get_secret_value()
    client = openai.AsyncOpenAI(
        api_key=key,
        default_headers=default_headers(
            openai, config, {"Authorization": f"Bearer {key}"}
        ),
        base_url=config.endpoint or None,
        **options(openai.DefaultAioHttpClient),
    )
    return StainlessWire(openai, client, "/chat/completions", config)
