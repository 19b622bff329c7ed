"""Checks of typed answers, calls of tools and embeddings.

A plug-in may refuse them; then it must make no call.
"""

from collections.abc import Awaitable
from contextlib import aclosing
from typing import Any

from llm_sdks import errors
from llm_sdks.answers import Answer, AnswerBuilder, Begun, Ended, Event
from llm_sdks.base_sdk import CompletionRequest, EmbeddingRequest
from llm_sdks.conformance.bench import Bench, expect, plain
from llm_sdks.conformance.stand_in import (
    TEXT,
    USAGE,
    Answers,
    CallsTool,
    Embeds,
)
from llm_sdks.conversation import Conversation, Message, ToolDefinition

_WEATHER = Conversation(
    (Message.of("user", "How is the weather in Rome?"),),
    (ToolDefinition("weather", "Tells the weather of a city."),),
)
_TEXTS = ("one", "two", "one")


async def answers_typed(bench: Bench) -> None:
    """Check that typed answers say the same as plain ones."""
    bench.stand_in.behave(Answers())
    for way in (_whole, _streamed):
        answer = await way(bench, bench.request())
        expect(answer.text, TEXT, f"text of {way.__name__}")
        expect(plain(answer.usage), USAGE, f"usage of {way.__name__}")
        expect(answer.finish, "stop", f"finish of {way.__name__}")


async def calls_tools(bench: Bench) -> None:
    """Check that calls of tools come through."""
    behaviour = CallsTool()
    bench.stand_in.behave(behaviour)
    for way in (_whole, _streamed):
        request = bench.request(conversation=_WEATHER)
        answer = await _or_refusal(bench, way(bench, request))
        if answer is None:
            continue
        calls = [(each.name, each.arguments) for each in answer.tool_calls]
        wanted = [(behaviour.name, behaviour.arguments)]
        expect(calls, wanted, f"calls of {way.__name__}")
        expect(all(each.id for each in answer.tool_calls), True, "ids")
        expect(answer.finish, "tool_calls", f"finish of {way.__name__}")


async def embeds(bench: Bench) -> None:
    """Check that each text has its vector."""
    bench.stand_in.behave(Embeds())
    request = EmbeddingRequest(bench.stand_in.config(), _TEXTS)
    found = await _or_refusal(bench, bench.sdk.embed(request))
    if found is None:
        return
    first, second, third = map(list, found.vectors)
    expect(first == third, True, "vectors of one text are the same")
    expect(first != second, True, "vectors of two texts differ")


async def _or_refusal(bench: Bench, call: Awaitable[Any]) -> Any:  # noqa: ANN401 - what the call gives
    try:
        return await call
    except errors.ConfigurationError:
        expect(bench.stand_in.calls(), 0, "calls of what is refused")
        return None


async def _whole(bench: Bench, request: CompletionRequest) -> Answer:
    return await bench.sdk.converse(request)


async def _streamed(bench: Bench, request: CompletionRequest) -> Answer:
    seen: list[Event] = []
    builder = AnswerBuilder()
    async with aclosing(bench.sdk.converse_stream(request)) as events:  # type: ignore[type-var]  # generators, all of them
        async for event in events:
            seen.append(event)
            builder.add(event)
    expect(isinstance(seen[0], Begun), True, "the first event is Begun")
    expect(isinstance(seen[-1], Ended), True, "the last event is Ended")
    return builder.answer()
