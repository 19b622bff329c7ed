"""Anthropic's library."""

import anthropic

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.wires.environment import default_headers
from llm_sdks.wires.stainless import StainlessWire, options
from llm_sdks.wires.wire import Wire


def connect(config: LLMConfig, _connect_timeout: float) -> Wire:
    """Make a client, of the interface's version that the model names."""
    key = config.api_key.get_secret_value()
    header = {"X-Api-Key": key}
    if config.is_bearer:
        header = {"Authorization": f"Bearer {key}"}
    headers = default_headers(anthropic, config, header)
    if config.api_version:
        headers["anthropic-version"] = config.api_version
    client = anthropic.AsyncAnthropic(
        api_key=None if config.is_bearer else key,
        auth_token=key if config.is_bearer else None,
        base_url=config.endpoint or None,
        default_headers=headers,
        **options(anthropic.DefaultAioHttpClient),
    )
    return StainlessWire(anthropic, client, "/v1/messages", config)
