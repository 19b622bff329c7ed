"""Conversations and answers that use everything, and many others."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from llm_sdks.answers import (
    Answer,
    RefusalOut,
    TextOut,
    ThinkingOut,
    TokenChance,
    TokenLogprob,
)
from llm_sdks.conversation import (
    Conversation,
    ImagePart,
    Message,
    MessagePart,
    ResponseFormat,
    Sampling,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
)
from llm_sdks.usage import Usage

_texts = st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20
)
_names = st.text("abcxyz_", min_size=1, max_size=8)
_words = _texts.filter(str.strip)
_objects = st.dictionaries(
    _names, st.one_of(st.integers(-9, 9), _texts, st.booleans()), max_size=3
)
_arguments = _objects.map(
    lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
)
_schemas = st.builds(
    lambda properties: {
        "type": "object",
        "properties": {name: {"type": "string"} for name in properties},
        "required": properties,
        "additionalProperties": False,
    },
    st.lists(_names, unique=True, max_size=3),
)
_pictures = st.one_of(
    st.builds(ImagePart, st.just("https://host/a.png")),
    st.builds(
        ImagePart, data=st.binary(max_size=9), media_type=st.just("image/png")
    ),
)
_tools = st.lists(
    st.builds(ToolDefinition, _names, _texts, _schemas, st.booleans()),
    unique_by=lambda tool: tool.name,
    max_size=3,
)


@st.composite
def _exchange(draw: st.DrawFn, start: int) -> list[Message]:
    """Draw a user's turn, and the model's with calls and their results."""
    parts: list[MessagePart] = [TextPart(draw(_words))]
    parts += draw(st.lists(_pictures, max_size=2))
    calls = [
        ToolCall(f"c{start}_{index}", draw(_names), draw(_arguments))
        for index in range(draw(st.integers(0, 2)))
    ]
    said = (TextPart(draw(_words)),)
    turns = [Message("user", tuple(parts)), Message("assistant", said)]
    if calls:
        turns[1] = Message("assistant", (*said, *calls))
        results = [ToolResult(call.id, draw(_words)) for call in calls]
        turns.append(Message("tool", tuple(results)))
    return turns


@st.composite
def conversations(draw: st.DrawFn, /, **more: Any) -> Conversation:
    """Draw a conversation that every format can hold.

    `more` are strategies for fields of its sampling.
    """
    messages: list[Message] = []
    if system := draw(st.one_of(st.none(), _words)):
        messages.append(Message.of("system", system))
    for start in range(draw(st.integers(0, 2))):
        messages += draw(_exchange(start))
    messages.append(Message.of("user", draw(_words)))
    tools = draw(_tools)
    choices = [None, ToolChoice(), ToolChoice("none"), ToolChoice("required")]
    if tools:
        choices.append(ToolChoice("tool", tools[0].name, parallel=False))
    sampling = Sampling(
        temperature=draw(st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1]))),
        top_p=draw(st.one_of(st.none(), st.sampled_from([0.1, 0.9]))),
        max_tokens=draw(st.integers(1, 50)),
        stop=draw(st.lists(_words, max_size=2).map(tuple)),
        reasoning_effort=draw(
            st.sampled_from([None, "low", "medium", "high", "xhigh", "max"])
        ),
        **{name: draw(strategy) for name, strategy in more.items()},
    )
    return Conversation(
        tuple(messages),
        tuple(tools),
        draw(st.sampled_from(choices)) if tools else None,
        sampling=sampling,
    )


def schema_forms() -> st.SearchStrategy[ResponseFormat]:
    """Give forms of answers that have a schema."""
    return st.builds(
        ResponseFormat,
        st.just("json_schema"),
        _schemas,
        _names,
        _texts,
        st.booleans(),
    )


_counts = st.integers(0, 99)
_usages = st.builds(
    lambda plain, output, cached, written, thought: Usage(
        plain + cached + written, output + thought, cached, thought, written
    ),
    _counts,
    _counts,
    _counts,
    _counts,
    _counts,
)
_calls = st.lists(
    st.builds(ToolCall, _texts, _names, _arguments),
    max_size=3,
    unique_by=lambda call: call.id,
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Draw an answer that OpenAI's and Anthropic's formats can hold."""
    parts: list[Any] = []
    if thought := draw(st.one_of(st.just(""), _words)):
        parts.append(ThinkingOut(thought))
    if text := draw(st.one_of(st.just(""), _words)):
        parts.append(TextOut(text))
    calls = draw(_calls)
    ends = ["tool_calls"] if calls else ["stop", "length", "refusal"]
    finish: Any = draw(st.sampled_from(ends))
    if finish == "refusal":
        parts = [*parts[: bool(thought)], RefusalOut(draw(_words))]
    return Answer((*parts, *calls), draw(_usages), finish, "theirs", "req-1")


LOGPROBS = (
    TokenLogprob(
        "ye",
        -0.25,
        (121, 101),
        (TokenChance("ye", -0.25, (121, 101)), TokenChance("no", -1.5)),
    ),
    TokenLogprob("s", -0.125, (115,)),
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a JSON value: what holds it, and its key."""
    keys = range(len(value)) if isinstance(value, list) else list(value)
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])
