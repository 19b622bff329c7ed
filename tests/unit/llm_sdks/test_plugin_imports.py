import subprocess
import sys

import pytest

from llm_sdks.base_sdk import CompletionRequest, LLMConfig
from llm_sdks.errors import ConfigurationError
from llm_sdks.formats import settings
from llm_sdks.openai_sdk import OpenAISDK

LIBRARIES = "'openai', 'anthropic', 'google.genai', 'azure.core', 'aiohttp'"
SCRIPT = f"""
import sys
from llm_sdks.registry import SdkRegistry
names = SdkRegistry.discover().names()
print(*names, *(set([{LIBRARIES}]) & set(sys.modules)))
"""


def test_finding_the_plug_ins_imports_no_vendors_library() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == [
        "Anthropic",
        "AzureOpenAI",
        "ChatCompletionsClient",
        "Gemini",
        "OpenAI",
        "test",
    ]


@pytest.mark.parametrize(
    "module", ["no_such_library", "no_such.library", "json.no_such"]
)
def test_a_library_that_is_missing_is_named_with_its_remedy(
    module: str,
) -> None:
    with pytest.raises(ImportError, match=r"install 'that\[aiohttp\]'"):
        settings.require("json", module, install="that[aiohttp]")


async def test_a_library_that_is_broken_is_told_by_the_first_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OpenAISDK, "client_module", "llm_sdks.wires.none")
    request = CompletionRequest(LLMConfig("m"), "", "", 0.5, 5.0)
    with pytest.raises(ConfigurationError, match="library of OpenAI"):
        await OpenAISDK().acomplete(request)


def test_a_library_that_is_there_is_not_imported() -> None:
    settings.require("wave", install="wave")
    assert "wave" not in sys.modules
