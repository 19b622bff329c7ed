"""What a simulated model says: by script, by schema, or an echo."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json, to_json

from provider_simulator.schema_instance import SchemaError, instance
from provider_simulator.script import Rule, ScriptedUsage
from provider_simulator.settings import SimulatorSettings
from provider_simulator.values import (
    Answer,
    Call,
    Tokens,
    ToolCall,
    bad_request,
    count_tokens,
    first_tokens,
)

_NO_RULE = Rule()


def answer(
    call: Call,
    settings: SimulatorSettings,
    rule: Rule | None = None,
    *,
    filtered: bool = False,
) -> Answer:
    """Answer a call; `filtered` holds the text back, as vendors' filters do.

    The answer ends where the call's limit of tokens is reached, which
    reasoning uses up as well.

    Raises:
        RefusedError: the call's schema is none.
    """
    if call.embeds is not None:
        return Answer("", Tokens(call.input_tokens, 0))
    rule = rule or _NO_RULE
    text, calls = rule.answer_text, _calls(call, rule)
    finish = rule.finish_reason or ("tool_calls" if calls else "stop")
    if text is None:
        text = "" if calls else _default_text(call)
    if filtered:
        text, calls, finish = "", (), "content_filter"
    reasoning = _or(rule.usage.reasoning_tokens, settings.reasoning_tokens)
    if call.max_tokens is not None:
        reasoning = min(reasoning, call.max_tokens)
        room = call.max_tokens - reasoning
        if count_tokens(text) > room:
            text, calls, finish = first_tokens(text, room), (), "length"
    said = text + "".join(to_json(each.arguments).decode() for each in calls)
    tokens = _tokens(call, said, reasoning, rule.usage, settings)
    return Answer(text, tokens, finish, calls)


def _calls(call: Call, rule: Rule) -> tuple[ToolCall, ...]:
    """Give the calls of the rule; else the one that the call asks for."""
    if rule.tool_calls or rule.answer_text is not None:
        return tuple(
            ToolCall(each.name, each.arguments) for each in rule.tool_calls
        )
    if call.must_call is None:
        return ()
    for tool in call.tools:
        if call.must_call in ("", tool.name):
            return (ToolCall(tool.name, _instance(tool.schema)),)
    raise bad_request(f"Tool '{call.must_call}' not found in 'tools'.")


def _default_text(call: Call) -> str:
    if call.schema is not None:
        return _of_schema(call.schema)
    echo = {"result": "ok", "model": call.model, "echo": _parsed(call.text)}
    return to_json(echo).decode()


def _of_schema(schema: Mapping[str, Any]) -> str:
    return to_json(_instance(schema)).decode()


def _instance(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON is any of six types
    try:
        return instance(schema)
    except SchemaError as error:
        raise bad_request(f"Invalid schema: {error}") from None


def _parsed(text: str) -> object:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return text


def _tokens(
    call: Call,
    text: str,
    reasoning: int,
    scripted: ScriptedUsage,
    settings: SimulatorSettings,
) -> Tokens:
    given = _or(scripted.input_tokens, call.input_tokens)
    cached = _or(scripted.cached_tokens, int(given * settings.cached_share))
    written = _or(
        scripted.cache_write_tokens,
        min(int(given * settings.cache_write_share), max(given - cached, 0)),
    )
    return Tokens(
        input=given,
        output=_or(scripted.output_tokens, count_tokens(text) + reasoning),
        cached=cached,
        reasoning=reasoning,
        cache_write=written,
    )


def _or(scripted: int | None, counted: int) -> int:
    return counted if scripted is None else scripted
