"""`OpenAI`: OpenAI itself and every endpoint that speaks its language."""

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.formats import settings
from llm_sdks.formats.chat_completions import ChatCompletionsSDK
from llm_sdks.forwarding import OPENAI_INTERFACES
from llm_sdks.passing import Origin

settings.require("openai", "aiohttp", install="openai[aiohttp]")


class OpenAISDK(ChatCompletionsSDK):
    """Chat completions; the model's `endpoint` is the base URL.

    Without an endpoint it is OpenAI's own.
    """

    usual_key_variable = "OPENAI_API_KEY"
    client_module = "llm_sdks.wires.openai_client"
    origin = Origin(
        "authorization",
        "Bearer ",
        "https://api.openai.com/v1",
        "OPENAI_BASE_URL",
    )
    # The second is for OpenAI's logs.
    key_headers = ("Idempotency-Key", "X-Client-Request-Id")
    interfaces = OPENAI_INTERFACES

    @classmethod
    def get_name(cls) -> str:
        """Return `OpenAI`."""
        return "OpenAI"

    def validate_config(self, config: LLMConfig) -> None:
        """Check the key and the form of the endpoint."""
        settings.check_key(config)
        settings.check_endpoint(config, "https://api.openai.com/v1")
