"""OpenAI's library, for OpenAI's models on Azure."""

from typing import Any

import openai

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.wires.environment import default_headers
from llm_sdks.wires.stainless import StainlessWire, options
from llm_sdks.wires.wire import Wire


def connect(config: LLMConfig, _connect_timeout: float) -> Wire:
    """Make a client for an Azure resource.

    The library takes the deployment from each body's `model`.
    """
    key = config.api_key.get_secret_value()
    credential: dict[str, Any] = {"api_key": key}
    header = {"api-key": key}
    if config.is_bearer:
        credential = {"azure_ad_token": key}
        header = {"Authorization": f"Bearer {key}"}
    client = openai.AsyncAzureOpenAI(
        **credential,
        default_headers=default_headers(openai, config, header),
        azure_endpoint=config.endpoint,
        api_version=config.api_version,
        **options(openai.DefaultAioHttpClient),
    )
    return StainlessWire(openai, client, "/chat/completions", config)
