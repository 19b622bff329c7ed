"""`AzureOpenAI`: OpenAI's models, deployed in an Azure resource."""

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.errors import ConfigurationError
from llm_sdks.formats import settings
from llm_sdks.formats.chat_completions import ChatCompletionsSDK
from llm_sdks.forwarding import OPENAI_INTERFACES
from llm_sdks.passing import Origin

settings.require("openai", "aiohttp", install="openai[aiohttp]")


class AzureOpenAISDK(ChatCompletionsSDK):
    """Chat completions of a model's `deployment`.

    `endpoint` is the resource's URL; `apiVersion` is needed as well.
    """

    usual_key_variable = "AZURE_OPENAI_API_KEY"
    client_module = "llm_sdks.wires.azure_openai_client"
    origin = Origin("api-key")
    # The second is for Azure's logs.
    key_headers = ("Idempotency-Key", "x-ms-client-request-id")
    interfaces = OPENAI_INTERFACES

    @classmethod
    def get_name(cls) -> str:
        """Return `AzureOpenAI`."""
        return "AzureOpenAI"

    def validate_config(self, config: LLMConfig) -> None:
        """Check that key, endpoint, version and deployment are there."""
        settings.check_key(config)
        settings.need_endpoint(config, "https://NAME.openai.azure.com")
        if not config.api_version:
            raise ConfigurationError(
                "apiVersion is missing; it looks like 2024-10-21"
            )
        if not config.deployment:
            raise ConfigurationError(
                "deployment is missing: what the model is called in the "
                "Azure resource"
            )
