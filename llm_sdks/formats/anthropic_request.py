"""Writes conversations as requests for Anthropic's messages."""

from collections.abc import Iterable

from llm_sdks.base_sdk import CompletionRequest
from llm_sdks.conversation import (
    Conversation,
    ImagePart,
    MessagePart,
    Sampling,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
)
from llm_sdks.formats import schemas
from llm_sdks.formats.rendering import Prepared, arguments_of, prepare
from llm_sdks.profiles.profile import EVERYTHING, Profile
from llm_sdks.wires.wire import Json

_HIGHEST_TEMPERATURE = 1.0
_DATA = "data:"
_MARK: Json = {"type": "ephemeral"}
_EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_CHOICES = {"auto": "auto", "none": "none", "required": "any", "tool": "tool"}

# There is no JSON mode without a schema.
PROFILE = Profile(
    supports_seed=False,
    supports_penalties=False,
    supports_logprobs=False,
    supports_json_object=False,
    schema_keywords_refused=tuple(
        sorted({*schemas.NARROWING, *schemas.ANNOTATIONS, "oneOf"})
    ),
).over(EVERYTHING)


def render(request: CompletionRequest, profile: Profile) -> Json:
    """Give the body of a call for a whole answer.

    Raises:
        ConfigurationError: names what the model does not support.
    """
    # There is no looser mode: an open schema would be refused.
    ready = prepare(request, profile, schemas.is_closed)
    body: Json = {
        "model": request.config.provider_model,
        "max_tokens": ready.max_tokens,
        "messages": _messages(ready.conversation),
        **_system(ready.conversation),
        **_sampling(ready.sampling),
        **_tools(ready.conversation, profile),
    }
    if output := _output(ready):
        body["output_config"] = output
    return body


def _system(conversation: Conversation) -> Json:
    parts = [
        part
        for message in conversation.messages
        if message.role == "system"
        for part in message.texts
    ]
    if any(part.cache for part in parts):
        return {"system": _blocks(parts)}
    text = conversation.system
    return {"system": text} if text else {}


def _messages(conversation: Conversation) -> list[Json]:
    """Join turns of one side: the interface wants them to alternate."""
    turns: list[tuple[str, list[MessagePart]]] = []
    for message in conversation.turns:
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(message.parts)
        else:
            turns.append((role, list(message.parts)))
    return [_turn(role, parts) for role, parts in turns]


def _turn(role: str, parts: list[MessagePart]) -> Json:
    only = parts[0] if len(parts) == 1 else None
    if isinstance(only, TextPart) and not only.cache:
        return {"role": role, "content": only.text}
    # Results must stand before anything else.
    parts.sort(key=lambda part: not isinstance(part, ToolResult))
    return {"role": role, "content": _blocks(parts)}


def _blocks(parts: Iterable[MessagePart]) -> list[Json]:
    return [_block(part) for part in parts if not _is_left_out(part)]


def _is_left_out(part: MessagePart) -> bool:
    # An empty text is refused, and so are thoughts of other providers.
    return (isinstance(part, TextPart) and not part.text) or (
        isinstance(part, ThinkingPart) and not part.signature
    )


def _block(part: MessagePart) -> Json:
    match part:
        case TextPart():
            return _marked({"type": "text", "text": part.text}, part.cache)
        case ImagePart():
            source = _source(part)
            return _marked({"type": "image", "source": source}, part.cache)
        case ThinkingPart():
            return {
                "type": "thinking",
                "thinking": part.text,
                "signature": part.signature,
            }
        case ToolCall():
            return {
                "type": "tool_use",
                "id": part.id,
                "name": part.name,
                "input": arguments_of(part),
            }
        case ToolResult():
            return _marked(_result(part), part.cache)


def _result(result: ToolResult) -> Json:
    block: Json = {"type": "tool_result", "tool_use_id": result.call_id}
    if isinstance(result.content, str):
        block["content"] = result.content
    else:
        block["content"] = _blocks(result.content)
    if result.is_error:
        block["is_error"] = True
    return block


def _source(image: ImagePart) -> Json:
    kind, data = image.media_type, image.base64
    if image.data is None:
        url = image.url or ""
        if not url.startswith(_DATA):
            return {"type": "url", "url": url}
        head, _, data = url.removeprefix(_DATA).partition(",")
        kind = head.removesuffix(";base64")
    return {"type": "base64", "media_type": kind, "data": data}


def _marked(block: Json, cache: bool) -> Json:  # noqa: FBT001 - a part's own
    return {**block, "cache_control": _MARK} if cache else block


def _sampling(sampling: Sampling) -> Json:
    heat = sampling.temperature
    options: Json = {
        "temperature": None if heat is None else min(
            heat, _HIGHEST_TEMPERATURE
        ),
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop_sequences": list(sampling.stop) or None,
    }  # fmt: skip
    return {
        name: value for name, value in options.items() if value is not None
    }


def _output(ready: Prepared) -> Json:
    output: Json = {}
    if ready.form.kind == "json_schema":
        output["format"] = {
            "type": "json_schema",
            "schema": ready.form.schema,
        }
    effort = _EFFORTS.get(ready.sampling.reasoning_effort or "")
    if effort is not None:
        output["effort"] = effort
    return output


def _tools(conversation: Conversation, profile: Profile) -> Json:
    if not conversation.tools:
        return {}
    body: Json = {
        "tools": [_tool(each, profile) for each in conversation.tools]
    }
    choice = conversation.tool_choice
    if choice is not None:
        body["tool_choice"] = _choice(choice, profile)
    return body


def _tool(tool: ToolDefinition, profile: Profile) -> Json:
    definition: Json = {"name": tool.name, "input_schema": tool.parameters}
    if tool.description:
        definition["description"] = tool.description
    if tool.strict and profile.supports_strict_schema:
        definition["strict"] = True
    return _marked(definition, tool.cache)


def _choice(choice: ToolChoice, profile: Profile) -> Json:
    body: Json = {"type": _CHOICES[choice.mode]}
    if choice.name:
        body["name"] = choice.name
    if (
        choice.parallel is not None
        and choice.mode != "none"
        and profile.supports_parallel_tool_calls
    ):
        body["disable_parallel_tool_use"] = not choice.parallel
    return body
