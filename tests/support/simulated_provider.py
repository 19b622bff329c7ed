"""The provider simulator as a stand-in for the conformance checks."""

import json
from functools import singledispatchmethod
from typing import Any

from pydantic import SecretStr

from llm_sdks.base_sdk import BaseLLMSDK, LLMConfig, Usage
from llm_sdks.conformance import (
    Answers,
    Behaviour,
    BreaksOff,
    CallsTool,
    Embeds,
    Fails,
    FailsMidway,
    Filters,
    Hangs,
    NotSupportedError,
    RefusesTemperature,
    StandIn,
    TalksNonsense,
    Truncates,
)
from llm_sdks.registry import SdkRegistry
from provider_simulator.running import Simulator

KEY = "key-abcdefgh-ijklmnop"
_VERSIONS = {"AzureOpenAI": "2024-10-21"}
_CUT = {"Anthropic": "max_tokens", "Gemini": "MAX_TOKENS"}
_NO_TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0.5 with this model."
)


class SimulatedProvider(StandIn):
    """One plug-in and the simulator that plays its provider."""

    def __init__(self, name: str, simulator: Simulator) -> None:
        self._name = name
        self._simulator = simulator

    def sdk(self) -> BaseLLMSDK:
        """Return a new instance of the plug-in."""
        return SdkRegistry.discover().create(self._name)

    def config(self) -> LLMConfig:
        """Return settings that reach the simulator."""
        return LLMConfig(
            "m",
            endpoint=self._simulator.base_urls[self._name],
            api_version=_VERSIONS.get(self._name, ""),
            deployment="theirs",
            api_key=SecretStr(KEY),
            max_token=500,
        )

    def behave(self, behaviour: Behaviour) -> None:
        """Write the script that makes the simulator behave so."""
        self._simulator.script(*self._rules(behaviour))
        self._simulator.reset_stats()

    def calls(self) -> int:
        """Return how many calls came."""
        return int(self._simulator.stats()["requests"])

    def open_calls(self) -> int:
        """Return how many calls wait for an answer."""
        return int(self._simulator.stats()["open"])

    @singledispatchmethod
    def _rules(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        raise NotSupportedError(type(behaviour).__name__)

    @_rules.register
    def _(self, behaviour: Answers) -> list[dict[str, Any]]:
        return [_answer(behaviour)]

    @_rules.register
    def _(self, behaviour: CallsTool) -> list[dict[str, Any]]:
        arguments = json.loads(behaviour.arguments)
        call = {"name": behaviour.name, "arguments": arguments}
        return [{"tool_calls": [call]}]

    @_rules.register
    def _(self, _behaviour: Embeds) -> list[dict[str, Any]]:
        return []

    @_rules.register
    def _(self, behaviour: Truncates) -> list[dict[str, Any]]:
        reason = _CUT.get(self._name, "length")
        return [{**_answer(behaviour), "finish_reason": reason}]

    @_rules.register
    def _(self, behaviour: RefusesTemperature) -> list[dict[str, Any]]:
        refusal = {"status": 400, "message": _NO_TEMPERATURE, "times": 1}
        return [refusal, _answer(behaviour)]

    @_rules.register
    def _(self, behaviour: Fails) -> list[dict[str, Any]]:
        return [
            {
                "status": behaviour.status,
                "message": behaviour.message,
                "retry_after": behaviour.retry_after,
            }
        ]

    @_rules.register
    def _(self, _behaviour: Filters) -> list[dict[str, Any]]:
        return [{"failure": "content_filter"}]

    @_rules.register
    def _(self, _behaviour: FailsMidway) -> list[dict[str, Any]]:
        return [{"text": "so " * 30, "failure": "stream_error"}]

    @_rules.register
    def _(self, _behaviour: Hangs) -> list[dict[str, Any]]:
        return [{"latency_ms": 60_000}]

    @_rules.register
    def _(self, _behaviour: BreaksOff) -> list[dict[str, Any]]:
        return [{"text": "so " * 30, "failure": "truncated"}]

    @_rules.register
    def _(self, _behaviour: TalksNonsense) -> list[dict[str, Any]]:
        return [{"failure": "invalid_json"}]


def _answer(behaviour: Answers) -> dict[str, Any]:
    return {"text": behaviour.text, "usage": _usage(behaviour.usage)}


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }
