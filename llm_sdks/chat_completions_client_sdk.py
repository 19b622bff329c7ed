"""`ChatCompletionsClient`: models behind Azure AI Inference."""

from collections.abc import Mapping
from typing import ClassVar

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.formats import settings
from llm_sdks.formats.chat_completions import ChatCompletionsSDK
from llm_sdks.forwarding import Interface
from llm_sdks.passing import Origin
from llm_sdks.wires.wire import Json

settings.require(
    "azure.ai.inference", "aiohttp", install="azure-ai-inference aiohttp"
)

# What the service itself knows; the rest is the model's own.
_OF_THE_SERVICE = frozenset(
    {
        "frequency_penalty", "max_tokens", "messages", "model",
        "presence_penalty", "response_format", "seed", "stop", "stream",
        "temperature", "tool_choice", "tools", "top_p",
    }
)  # fmt: skip


class ChatCompletionsClientSDK(ChatCompletionsSDK):
    """Chat completions; `endpoint` is the URL above `/chat/completions`."""

    usual_key_variable = "AZURE_INFERENCE_CREDENTIAL"
    client_module = "llm_sdks.wires.azure_inference_client"
    origin = Origin("api-key")
    # The second is for Azure's logs.
    key_headers = ("Idempotency-Key", "x-ms-client-request-id")
    interfaces: ClassVar[Mapping[Interface, str]] = {
        Interface.CHAT: Interface.CHAT
    }

    @classmethod
    def get_name(cls) -> str:
        """Return `ChatCompletionsClient`."""
        return "ChatCompletionsClient"

    def validate_config(self, config: LLMConfig) -> None:
        """Check the key and the endpoint."""
        settings.check_key(config)
        settings.need_endpoint(
            config, "https://NAME.services.ai.azure.com/models"
        )

    def headers(self, body: Json) -> Mapping[str, str]:
        """Have the service hand on what only the model knows."""
        if body.keys() - _OF_THE_SERVICE:
            return {"extra-parameters": "pass-through"}
        return {}
