"""Writes conversations as requests for chat completions."""

from llm_sdks.base_sdk import CompletionRequest, LLMConfig
from llm_sdks.conversation import (
    Conversation,
    ImagePart,
    Message,
    ResponseFormat,
    Sampling,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
)
from llm_sdks.formats.rendering import Prepared, prepare, unsupported
from llm_sdks.profiles.profile import Profile
from llm_sdks.wires.wire import Json

# Google's own endpoint of this format.
_GOOGLE = "googleapis.com"


def render(request: CompletionRequest, profile: Profile) -> Json:
    """Give the body of a call for a whole answer.

    Raises:
        ConfigurationError: names what the model does not support.
    """
    ready = prepare(request, profile)
    return {
        "model": request.config.provider_model,
        "messages": _messages(ready.conversation, request.config),
        **_token_limit(ready, request.config, profile),
        **_sampling(ready.sampling),
        **_form(ready.form),
        **_tools(ready.conversation, profile),
    }


def _messages(conversation: Conversation, config: LLMConfig) -> list[Json]:
    messages: list[Json] = []
    for message in conversation.messages:
        match message.role:
            case "tool":
                messages += [
                    _result(each, config) for each in message.tool_results
                ]
            case "assistant":
                messages.append(_assistant(message, config))
            case "system":
                messages.append({"role": "system", "content": message.text})
            case "user":
                content = _content(message)
                messages.append({"role": "user", "content": content})
    return messages


def _content(message: Message) -> str | list[Json]:
    if len(message.parts) == len(message.texts) == 1:
        return message.text
    return [_part(each) for each in message.parts]


def _part(part: object) -> Json:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            image = {"url": part.address}
            if part.detail is not None:
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image}
        case _:  # pragma: no cover - messages check their parts
            raise TypeError(type(part).__name__)


def _assistant(message: Message, config: LLMConfig) -> Json:
    turn: Json = {"role": "assistant", "content": message.text or None}
    calls = [_call(each, config) for each in message.tool_calls]
    if calls:
        turn["tool_calls"] = calls
    else:
        turn["content"] = message.text
    return turn


def _call(call: ToolCall, config: LLMConfig) -> Json:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    body: Json = {"id": call.id, "type": "function", "function": function}
    # Others may refuse a field that they do not know.
    if call.signature and _GOOGLE in config.endpoint:
        google = {"thought_signature": call.signature}
        body["extra_content"] = {"google": google}
    return body


def _result(result: ToolResult, config: LLMConfig) -> Json:
    if result.images:
        what = "images in the results of tools"
        raise unsupported(what, config.name, "messages")
    return {
        "role": "tool",
        "tool_call_id": result.call_id,
        "content": result.text,
    }


def _token_limit(ready: Prepared, config: LLMConfig, profile: Profile) -> Json:
    if ready.max_tokens is None:
        return {}
    field = profile.token_limit_field
    if field is None:
        is_newer = config.max_completion_token is not None
        field = "max_completion_tokens" if is_newer else "max_tokens"
    return {field: ready.max_tokens}


def _sampling(sampling: Sampling) -> Json:
    options: Json = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop": list(sampling.stop) or None,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "reasoning_effort": sampling.reasoning_effort,
    }
    if sampling.logprobs is not None:
        options["logprobs"] = True
        options["top_logprobs"] = sampling.logprobs or None
    return {
        name: value for name, value in options.items() if value is not None
    }


def _form(form: ResponseFormat) -> Json:
    match form.kind:
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case "json_schema":
            described = (
                {"description": form.description} if form.description else {}
            )
            schema = {
                "name": form.name,
                **described,
                "schema": form.schema,
                "strict": form.strict,
            }
            return {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": schema,
                }
            }
        case "text":
            return {}


def _tools(conversation: Conversation, profile: Profile) -> Json:
    if not conversation.tools:
        return {}
    body: Json = {
        "tools": [_tool(each, profile) for each in conversation.tools]
    }
    choice = conversation.tool_choice
    if choice is not None:
        body["tool_choice"] = _choice(choice)
        if choice.parallel is not None and (
            profile.supports_parallel_tool_calls
        ):
            body["parallel_tool_calls"] = choice.parallel
    return body


def _tool(tool: ToolDefinition, profile: Profile) -> Json:
    function: Json = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    if tool.strict and profile.supports_strict_schema:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> str | Json:
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode
