"""Writes conversations as what Google's `generate_content` takes."""

import base64
import binascii
import re
from collections.abc import Mapping

from pydantic_core import from_json

from llm_sdks import errors
from llm_sdks.base_sdk import CompletionRequest
from llm_sdks.conversation import (
    Conversation,
    ImagePart,
    ResponseFormat,
    Sampling,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolDefinition,
    ToolResult,
)
from llm_sdks.formats.rendering import (
    Prepared,
    arguments_of,
    prepare,
    tool_name,
)
from llm_sdks.profiles.profile import EVERYTHING, Profile
from llm_sdks.wires.wire import Json

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}
# The library writes the levels' names so.
_LEVELS = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_DATA = "data:"
_ALPHABET = str.maketrans("-_", "+/")
_SIGNING = re.compile(r"(?:.*/)?gemini-(?:[3-9]|\d\d)")
_UNSIGNED = b"skip_thought_signature_validator"

# Several tools may always be called at once; schemas have no strict mode.
PROFILE = Profile(
    supports_parallel_tool_calls=False,
    supports_strict_schema=False,
).over(EVERYTHING)


def render(request: CompletionRequest, profile: Profile) -> Json:
    """Give the arguments of a call, streamed or not.

    Raises:
        ConfigurationError: names what the model does not support.
    """
    ready = prepare(request, profile)
    config: Json = {
        "max_output_tokens": ready.max_tokens,
        **_sampling(ready.sampling),
        **_form(ready.form),
        **_tools(ready.conversation),
    }
    if system := ready.conversation.system:
        config["system_instruction"] = system
    contents = _contents(ready)
    if _SIGNING.match(request.config.provider_model.lower()):
        for turn in contents if isinstance(contents, list) else ():
            _sign(turn)
    return {"contents": contents, "config": config}


def _contents(ready: Prepared) -> str | list[Json]:
    conversation = ready.conversation
    if conversation.is_simple:
        return conversation.turns[0].text
    turns: list[Json] = []
    for message in conversation.turns:
        role = "model" if message.role == "assistant" else "user"
        parts = [
            _part(part, conversation)
            for part in message.parts
            if not isinstance(part, ThinkingPart)
        ]
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"].extend(parts)
        else:
            turns.append({"role": role, "parts": parts})
    return turns


def _part(
    part: TextPart | ImagePart | ToolCall | ToolResult,
    conversation: Conversation,
) -> Json:
    match part:
        case TextPart():
            return {"text": part.text}
        case ImagePart():
            return _image(part)
        case ToolCall():
            return _call(part)
        case ToolResult():
            return _result(part, conversation)


def _call(call: ToolCall) -> Json:
    asked = {"id": call.id, "name": call.name, "args": arguments_of(call)}
    return {
        "function_call": asked,
        **({"thought_signature": _signature(call)} if call.signature else {}),
    }


def _signature(call: ToolCall) -> bytes:
    # Google writes it in the alphabet for URLs, or in the other.
    plain = call.signature.translate(_ALPHABET)
    try:
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        raise errors.BadRequestError(
            f"The signature of the tool call {call.name!r} is no Base64"
        ) from None


def _sign(turn: Json) -> None:
    """Sign the first call of a turn that has lost its signature.

    Of calls made together, only the first is signed. Newer models refuse
    one without; this is what Google documents for calls that another model
    made: https://ai.google.dev/gemini-api/docs/thought-signatures
    """
    for part in turn["parts"]:
        if "function_call" in part:
            part.setdefault("thought_signature", _UNSIGNED)
            return


def _image(image: ImagePart) -> Json:
    if image.data is not None:
        blob = {"data": image.data, "mime_type": image.media_type}
        return {"inline_data": blob}
    url = image.url or ""
    if url.startswith(_DATA):
        return {"inline_data": _blob(url)}
    file = {"file_uri": url, "mime_type": image.media_type}
    return {
        "file_data": {name: value for name, value in file.items() if value}
    }


def _blob(url: str) -> Json:
    head, _, data = url.removeprefix(_DATA).partition(",")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise errors.BadRequestError(
            "The data: URL of an image is no Base64"
        ) from None
    return {"data": content, "mime_type": head.removesuffix(";base64")}


def _result(result: ToolResult, conversation: Conversation) -> Json:
    response: Json = {
        "id": result.call_id,
        "name": tool_name(conversation, result.call_id, result.name),
        "response": _response(result),
    }
    if result.images:
        response["parts"] = [_image(each) for each in result.images]
    return {"function_response": response}


def _response(result: ToolResult) -> Json:
    if result.is_error:
        return {"error": result.text}
    try:
        value = from_json(result.text)
    except ValueError:
        value = None
    # Google takes objects only.
    if isinstance(value, Mapping):
        return dict(value)
    return {"result": result.text}


def _sampling(sampling: Sampling) -> Json:
    options: Json = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop_sequences": list(sampling.stop) or None,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    if sampling.reasoning_effort == "none":
        options["thinking_config"] = {"thinking_budget": 0}
    elif sampling.reasoning_effort is not None:
        level = _LEVELS[sampling.reasoning_effort]
        options["thinking_config"] = {"thinking_level": level}
    if sampling.logprobs is not None:
        options["response_logprobs"] = True
        options["logprobs"] = sampling.logprobs or None
    return {
        name: value for name, value in options.items() if value is not None
    }


def _form(form: ResponseFormat) -> Json:
    if form.kind == "text":
        return {}
    body: Json = {"response_mime_type": "application/json"}
    if form.schema is not None:
        body["response_json_schema"] = dict(form.schema)
    return body


def _tools(conversation: Conversation) -> Json:
    if not conversation.tools:
        return {}
    declared = [_tool(each) for each in conversation.tools]
    body: Json = {"tools": [{"function_declarations": declared}]}
    choice = conversation.tool_choice
    if choice is not None:
        calling: Json = {"mode": _MODES[choice.mode]}
        if choice.name:
            calling["allowed_function_names"] = [choice.name]
        body["tool_config"] = {"function_calling_config": calling}
    return body


def _tool(tool: ToolDefinition) -> Json:
    return {
        "name": tool.name,
        "description": tool.description or None,
        "parameters_json_schema": dict(tool.parameters),
    }
