"""Anthropic's library."""

import anthropic

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.wires.environment import default_headers
from llm_sdks.wires.stainless import StainlessWire, options
from llm_sdks.wires.wire import Wire


def connect(config: LLMConfig, _connect_timeout: float) -> Wire:
    """Make a client, of the interface's version that the model names."""
    key = config.api_key.get_secret_value()
    headers = default_headers(anthropic, config, {"X-Api-Key": key})
    if config.api_version:
        headers["anthropic-version"] = config.api_version
    client = anthropic.AsyncAnthropic(
        api_key=key,
        base_url=config.endpoint or None,
        default_headers=headers,
        **options(anthropic.DefaultAioHttpClient),
    )
    return StainlessWire(anthropic, client, "/v1/messages", config)
