"""LiteLLM's client, which takes either vendor's interface by a prefix."""

import asyncio
import json
from typing import Any

import litellm
from pydantic import BaseModel

from tests.judges.runner import Judge

litellm.telemetry = False
litellm.suppress_debug_info = True
HELLO = [{"role": "user", "content": "Say hello."}]
CALL = {"tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def ways(judge: Judge) -> list[dict[str, Any]]:
    """Give each interface with each vendor's model."""
    found = []
    for model in (judge.gpt, judge.claude):
        openai = {"model": f"openai/{model}", "api_base": f"{judge.url}/v1"}
        anthropic = {"model": f"anthropic/{model}", "api_base": judge.url}
        found += [openai, anthropic]
    return [
        {**way, "api_key": judge.token, "max_tokens": 200, "num_retries": 0}
        for way in found
    ]


def check_completion(judge: Judge) -> None:
    for way in ways(judge):
        answer: Any = litellm.completion(messages=HELLO, **way)
        assert "Say hello." in answer.choices[0].message.content
        assert answer.usage.prompt_tokens > 0
        assert answer.usage.completion_tokens > 0
        assert answer.choices[0].finish_reason == "stop"


def check_stream(judge: Judge) -> None:
    judge.script({"text": "one two three four five six"})
    for way in ways(judge):
        chunks: Any = list(
            litellm.completion(
                messages=HELLO,
                stream=True,
                stream_options={"include_usage": True},
                **way,
            )
        )
        texts = [
            each.choices[0].delta.content or ""
            for each in chunks
            if each.choices
        ]
        assert "".join(texts) == "one two three four five six", texts
        assert any(getattr(each, "usage", None) for each in chunks)


def check_async(judge: Judge) -> None:
    async def one(way: dict[str, Any]) -> None:
        answer: Any = await litellm.acompletion(messages=HELLO, **way)
        assert "Say hello." in answer.choices[0].message.content
        stream: Any = await litellm.acompletion(
            messages=HELLO, stream=True, **way
        )
        texts = [
            chunk.choices[0].delta.content or "" async for chunk in stream
        ]
        assert "Say hello." in "".join(texts)

    async def all_at_once() -> None:
        await asyncio.gather(*map(one, ways(judge)))

    asyncio.run(all_at_once())


def check_tools(judge: Judge) -> None:
    for way in ways(judge):
        judge.script(
            {"pattern": "Oslo", **CALL, "times": 1}, {"text": "Rain."}
        )
        asked: list[Any] = [{"role": "user", "content": "Oslo?"}]
        answer: Any = litellm.completion(messages=asked, tools=TOOLS, **way)
        message = answer.choices[0].message
        (call,) = message.tool_calls
        assert call.function.name == "weather"
        assert json.loads(call.function.arguments) == {"city": "Oslo"}
        result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
        last: Any = litellm.completion(
            messages=[*asked, message.model_dump(), result],
            tools=TOOLS,
            **way,
        )
        assert last.choices[0].message.content == "Rain."


def check_tools_in_streams(judge: Judge) -> None:
    judge.script(CALL)
    for way in ways(judge):
        chunks: Any = list(
            litellm.completion(messages=HELLO, tools=TOOLS, stream=True, **way)
        )
        whole: Any = litellm.stream_chunk_builder(chunks)
        (call,) = whole.choices[0].message.tool_calls
        assert json.loads(call.function.arguments) == {"city": "Oslo"}


def check_structured_output(judge: Judge) -> None:
    for way in ways(judge):
        answer: Any = litellm.completion(
            messages=HELLO, response_format=Person, **way
        )
        Person.model_validate_json(answer.choices[0].message.content)


def check_embeddings(judge: Judge) -> None:
    answer: Any = litellm.embedding(
        model=f"openai/{judge.gpt}",
        input=["one", "two"],
        api_base=f"{judge.url}/v1",
        api_key=judge.token,
    )
    assert [len(each["embedding"]) for each in answer.data] == [64, 64]
    assert answer.usage.prompt_tokens > 0


def check_responses(judge: Judge) -> None:
    for model in (judge.gpt, judge.claude):
        answer: Any = litellm.responses(
            model=f"openai/{model}",
            input="Say hello.",
            api_base=f"{judge.url}/v1",
            api_key=judge.token,
        )
        assert "Say hello." in answer.output[0].content[0].text


def check_retries(judge: Judge) -> None:
    limited = {"status": 429, "message": "slow", "retry_after": 0, "times": 1}
    for way in ways(judge):
        judge.script(limited, {"text": "at last"})
        answer: Any = litellm.completion(
            messages=HELLO, **{**way, "num_retries": 2}
        )
        assert answer.choices[0].message.content == "at last"


def check_errors(judge: Judge) -> None:
    for way in ways(judge):
        prefix = way["model"].partition("/")[0]
        unknown = {**way, "model": f"{prefix}/nobody"}
        try:
            litellm.completion(messages=HELLO, **unknown)
        except litellm.exceptions.NotFoundError:
            pass
        else:
            raise AssertionError("no error")
        try:
            litellm.completion(messages=HELLO, **{**way, "api_key": "a:b"})
        except litellm.exceptions.AuthenticationError:
            pass
        else:
            raise AssertionError("no error")


def check_proxy(judge: Judge) -> None:
    answer: Any = litellm.completion(
        model="anthropic/theirs",
        messages=HELLO,
        api_base=f"{judge.url}/proxy/{judge.claude}",
        api_key=judge.token,
    )
    assert "Say hello." in answer.choices[0].message.content
