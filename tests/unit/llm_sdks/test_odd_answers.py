"""Answers as they come in the wild, over a real socket, of every provider."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from llm_sdks import errors
from llm_sdks.base_sdk import StreamItem, Usage
from llm_sdks.registry import SdkRegistry
from tests.support.questions import (
    KEY,
    MESSAGE,
    ask,
    chat,
    events,
    gemini,
    question,
    read,
)
from tests.support.recorder import Recorder, recorder, server_sent

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
PROVIDERS = [
    "OpenAI",
    "AzureOpenAI",
    "ChatCompletionsClient",
    "Anthropic",
    "Gemini",
]
CHATS = PROVIDERS[:3]
every = pytest.mark.parametrize("name", PROVIDERS)
every_chat = pytest.mark.parametrize("name", CHATS)


@pytest.fixture
async def provider() -> AsyncIterator[Recorder]:
    async with recorder() as kept:
        yield kept


class Sloppy:
    """Promises more bytes than it sends."""

    def __init__(self) -> None:
        self.url = ""
        self.body = b""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        async with server:
            yield

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert length
        await reader.readexactly(int(length[1]))
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + self.body
        )
        await writer.drain()
        writer.close()


def asked(provider: Recorder | Sloppy, name: str) -> Any:
    version = {"AzureOpenAI": "2024-10-21"}.get(name, "")
    return question(provider, api_version=version)


def whole(name: str) -> Any:
    """Give a whole answer that says "yes"."""
    match name:
        case "Anthropic":
            return {**MESSAGE, "content": [{"type": "text", "text": "yes"}]}
        case "Gemini":
            return gemini({"text": "yes"})
    choice = {"message": {"content": "yes"}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": USAGE}


def streamed(name: str) -> list[Any]:
    """Give the events of a stream that says "yes"."""
    match name:
        case "Anthropic":
            usage = {"input_tokens": 25, "output_tokens": 1}
            return [
                {"type": "message_start", "message": {"usage": usage}},
                {
                    "type": "content_block_start",
                    "content_block": {"type": "text", "text": "ye"},
                },
                {"type": "ping"},
                {
                    "type": "content_block_delta",
                    "delta": {"type": "text_delta", "text": "s"},
                },
                {"type": "something_new"},
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn"},
                    "usage": {"input_tokens": 0, "output_tokens": 15},
                },
            ]
        case "Gemini":
            return [gemini({"text": "ye"}, reason=""), gemini({"text": "s"})]
    return [
        {"choices": [], "prompt_filter_results": []},
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"content": "ye"}, "finish_reason": None}]},
        {"choices": [{"delta": {"content": [{"type": "thinking"}]}}]},
        {"choices": [{"delta": {"content": [{"text": "s"}]}}]},
        {"choices": [{"delta": None, "content_filter_results": {}}]},
        {"object": "something.new"},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [{"finish_reason": None, "content_filter_offsets": {}}]},
        {"usage": USAGE},
    ]


def text_of(items: list[StreamItem]) -> str:
    return "".join(item for item in items if isinstance(item, str))


def usage_of(items: list[StreamItem]) -> StreamItem:
    return items[-1]


async def until_error(
    name: str, request: Any
) -> tuple[list[StreamItem], errors.LLMError]:
    """Read a stream up to its error; return both."""
    items: list[StreamItem] = []
    async with aclosing(SdkRegistry.discover().create(name)) as sdk:
        try:
            async for item in sdk.astream(request):
                items.append(item)  # noqa: PERF401 - what came before
        except errors.LLMError as error:
            return items, error
    raise AssertionError("the stream ended without an error")


@every
async def test_harmless_events_do_not_end_a_stream(
    provider: Recorder, name: str
) -> None:
    provider.answer = lambda _: events(*streamed(name))
    items = await read(name, asked(provider, name))
    assert text_of(items) == "yes"
    usage = {"Anthropic": Usage(25, 15), "Gemini": Usage(20, 9, 5, 3)}
    assert usage_of(items) == usage.get(name, Usage(10, 5))


@every
async def test_a_stream_that_nobody_asked_for_is_put_together(
    provider: Recorder, name: str
) -> None:
    provider.answer = lambda _: events(*streamed(name))
    answer = await ask(name, asked(provider, name))
    assert answer.text == "yes"
    usage = {"Anthropic": Usage(25, 15), "Gemini": Usage(20, 9, 5, 3)}
    assert answer.usage == usage.get(name, Usage(10, 5))


@every
async def test_a_whole_answer_in_place_of_a_stream_is_read(
    provider: Recorder, name: str
) -> None:
    provider.answer = lambda _: web.json_response(whole(name))
    items = await read(name, asked(provider, name))
    assert text_of(items) == "yes"
    assert isinstance(usage_of(items), Usage)


@every
@pytest.mark.parametrize("way", [ask, read])
async def test_large_headers_do_not_lose_an_answer(
    provider: Recorder, name: str, way: Callable[..., Any]
) -> None:
    def answer(_body: dict[str, Any]) -> web.Response:
        response = web.json_response(whole(name))
        for number in range(3):
            response.headers[f"x-big-{number}"] = "y" * 9_000
        return response

    provider.answer = answer
    assert await way(name, asked(provider, name))


@every
async def test_odd_bytes_do_not_lose_an_answer(
    provider: Recorder, name: str
) -> None:
    text = json.dumps(whole(name)).replace("yes", "y\\ud83d\\u00e9s")
    body = b"\xef\xbb\xbf" + text.encode().replace(b"s\\u00e9", b"\xff\xe9")
    provider.answer = lambda _: web.Response(
        body=body.replace(b"\\u00e9", b"\xff"), content_type="application/json"
    )
    answer = await ask(name, asked(provider, name))
    assert answer.text == "y\ufffd\ufffds"
    items = await read(name, asked(provider, name))
    assert text_of(items) == "y\ufffd\ufffds"


@every
async def test_a_compressed_answer_is_read(
    provider: Recorder, name: str
) -> None:
    def answer(_body: dict[str, Any]) -> web.Response:
        response = web.json_response(whole(name))
        response.enable_compression(web.ContentCoding.gzip)
        return response

    provider.answer = answer
    assert (await ask(name, asked(provider, name))).text == "yes"
    assert text_of(await read(name, asked(provider, name))) == "yes"


@every
@pytest.mark.parametrize("body", ["<html>Welcome, [key]</html>", "so", ""])
async def test_an_answer_that_cannot_be_read_is_kept(
    provider: Recorder, name: str, body: str
) -> None:
    provider.answer = lambda _: web.Response(
        text=body.replace("[key]", KEY), content_type="text/html"
    )
    with pytest.raises(errors.UnreadableAnswerError) as failed:
        await ask(name, asked(provider, name))
    assert failed.value.partial_text == body
    assert failed.value.max_calls == 3
    _, error = await until_error(name, asked(provider, name))
    assert error.partial_text == body


async def test_an_answer_without_a_text_keeps_its_usage(
    provider: Recorder,
) -> None:
    body = {"choices": [{"message": {"content": 5}}], "usage": USAGE}
    provider.answer = lambda _: web.json_response(body)
    with pytest.raises(errors.UnreadableAnswerError) as failed:
        await ask("OpenAI", asked(provider, "OpenAI"))
    assert failed.value.usage == Usage(10, 5)


@every
async def test_an_error_in_a_stream_keeps_what_was_counted(
    provider: Recorder, name: str
) -> None:
    problem = {"type": "overloaded_error", "message": f"Overloaded, {KEY}"}
    first = streamed(name)[:5]
    if name in CHATS:
        first.append({"choices": [], "usage": USAGE})
    failed = {"type": "error", "error": problem}
    provider.answer = lambda _: events(*first, failed)
    items, error = await until_error(name, asked(provider, name))
    assert type(error) is errors.OverloadedError
    assert str(error) == "Overloaded, [key]"
    assert error.partial_text == text_of(items)
    counted = [item for item in items if isinstance(item, Usage)]
    assert error.usage == counted[-1] != Usage()


async def test_usage_comes_before_the_stream_ends(provider: Recorder) -> None:
    provider.answer = lambda _: events(*streamed("Anthropic"))
    items = await read("Anthropic", asked(provider, "Anthropic"))
    assert items == [Usage(25, 1), "ye", "s", Usage(25, 15)]


@every
async def test_a_json_error_in_place_of_a_stream_has_its_words(
    provider: Recorder, name: str
) -> None:
    body = {"error": {"message": "model is loading", "code": 503}}
    provider.answer = lambda _: web.json_response(body)
    _, error = await until_error(name, asked(provider, name))
    assert type(error) is errors.OverloadedError
    assert str(error) == "model is loading"


@every
async def test_words_alone_are_news_in_a_stream_and_else_an_error(
    provider: Recorder, name: str
) -> None:
    news = {"status": "waiting", "message": "model is loading"}
    provider.answer = lambda _: events(news, *streamed(name))
    assert text_of(await read(name, asked(provider, name))) == "yes"
    assert (await ask(name, asked(provider, name))).text == "yes"
    provider.answer = lambda _: web.json_response(news)
    _, error = await until_error(name, asked(provider, name))
    assert type(error) is errors.OverloadedError
    with pytest.raises(errors.OverloadedError, match="model is loading"):
        await ask(name, asked(provider, name))


@every_chat
async def test_an_error_in_a_choice_is_no_success(
    provider: Recorder, name: str
) -> None:
    choice = {
        "message": {"content": "The first half"},
        "finish_reason": "error",
        "error": {"code": 502, "message": "Upstream lost"},
    }
    body = {"choices": [choice], "usage": USAGE}
    provider.answer = lambda _: web.json_response(body)
    with pytest.raises(errors.ProviderError, match=r"^Upstream lost$") as it:
        await ask(name, asked(provider, name))
    assert it.value.usage == Usage(10, 5)
    assert it.value.partial_text == "The first half"


async def test_half_a_letter_is_completed_by_the_next_event(
    provider: Recorder,
) -> None:
    pieces = ["Hi \ud83d", "\ude00!", "\ud83d"]
    chunks = [{"choices": [{"delta": {"content": it}}]} for it in pieces]
    provider.answer = lambda _: server_sent(
        *(f"data: {json.dumps(chunk)}" for chunk in chunks), "data: [DONE]"
    )
    items = await read("OpenAI", asked(provider, "OpenAI"))
    assert items == ["Hi ", "😀!", "\ufffd"]


async def test_a_stream_that_only_ends_is_no_answer(
    provider: Recorder,
) -> None:
    provider.answer = lambda _: server_sent("data: [DONE]")
    _, error = await until_error("OpenAI", asked(provider, "OpenAI"))
    assert isinstance(error, errors.ProviderError)


async def test_a_stream_may_end_with_its_mark_alone(
    provider: Recorder,
) -> None:
    chunk = {"choices": [{"delta": {"content": "yes"}}]}
    provider.answer = lambda _: server_sent(
        f"data: {json.dumps(chunk)}", "data: [DONE]"
    )
    assert await read("OpenAI", asked(provider, "OpenAI")) == ["yes"]


async def test_googles_list_of_answers_is_read(provider: Recorder) -> None:
    provider.answer = lambda _: web.json_response(streamed("Gemini"))
    assert (await ask("Gemini", asked(provider, "Gemini"))).text == "yes"
    items = await read("Gemini", asked(provider, "Gemini"))
    assert text_of(items) == "yes"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (
            "Anthropic",
            {
                "content": [
                    {"type": "tool_use", "name": "f", "input": {"a": "pos"}}
                ],
                "stop_reason": "tool_use",
            },
        ),
        (
            "Gemini",
            gemini({"functionCall": {"name": "f", "args": {"a": "pos"}}}),
        ),
    ],
)
async def test_tool_calls_of_other_formats_keep_their_arguments(
    provider: Recorder, name: str, body: Any
) -> None:
    provider.answer = lambda _: web.json_response(body)
    with pytest.raises(errors.ToolCalledError, match=r"tool .*: f") as failed:
        await ask(name, asked(provider, name))
    assert failed.value.partial_text == '{"a":"pos"}'


async def test_anthropics_tool_calls_in_a_stream_keep_their_arguments(
    provider: Recorder,
) -> None:
    block = {"type": "tool_use", "name": "f", "input": {}}
    provider.answer = lambda _: events(
        {"type": "content_block_start", "content_block": block},
        *(
            {
                "type": "content_block_delta",
                "delta": {"type": "input_json_delta", "partial_json": piece},
            }
            for piece in ('{"a":', '"pos"}')
        ),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    )
    _, error = await until_error("Anthropic", asked(provider, "Anthropic"))
    assert type(error) is errors.ToolCalledError
    assert error.partial_text == '{"a":"pos"}'


@every
async def test_a_wrong_path_is_told(provider: Recorder, name: str) -> None:
    provider.answer = lambda _: web.Response(status=404, text="nothing here")
    for way in (ask, read):
        with pytest.raises(errors.BadRequestError) as failed:
            await way(name, asked(provider, name))
        path = provider.paths[-1].split("?")[0]
        assert str(failed.value) == f"HTTP 404: nothing here (POST {path})"


@pytest.mark.parametrize("name", ["OpenAI", "AzureOpenAI", "Anthropic"])
async def test_a_redirected_stream_is_read_in_the_same_way(
    provider: Recorder, name: str
) -> None:
    def answer(_body: dict[str, Any]) -> web.Response:
        if provider.paths[-1] == "/there":
            return events(*streamed(name))
        return web.Response(status=308, headers={"Location": "/there"})

    provider.answer = answer
    assert text_of(await read(name, asked(provider, name))) == "yes"


@pytest.mark.parametrize("name", ["OpenAI", "AzureOpenAI", "Anthropic"])
async def test_behind_a_proxy_streams_are_read_in_the_same_way(
    provider: Recorder, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", provider.url)
    request = asked(provider, name)
    provider.answer = lambda _: events(*streamed(name))
    assert text_of(await read(name, request)) == "yes"
    assert (await ask(name, request)).text == "yes"
    provider.answer = lambda _: web.json_response(
        whole(name), headers={"x-big": "y" * 9_000}
    )
    assert text_of(await read(name, request)) == "yes"
    provider.answer = lambda _: web.Response(status=404, text="nothing here")
    with pytest.raises(errors.BadRequestError, match="nothing here"):
        await read(name, request)


async def test_a_text_of_the_older_interface_is_read(
    provider: Recorder,
) -> None:
    body = {"choices": [{"text": "yes", "finish_reason": "stop"}]}
    provider.answer = lambda _: web.json_response(body)
    request = asked(provider, "OpenAI")
    assert (await ask("OpenAI", request)).text == "yes"
    assert await read("OpenAI", request) == ["yes"]


async def test_thinking_is_not_part_of_the_answer(provider: Recorder) -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "no"}]},
        {"type": "text", "text": "yes"},
    ]
    provider.answer = lambda _: chat(content, reasoning_content="no")  # type: ignore[arg-type]  # what providers send
    assert (await ask("OpenAI", asked(provider, "OpenAI"))).text == "yes"


@pytest.fixture
async def sloppy() -> AsyncIterator[Sloppy]:
    provider = Sloppy()
    async with provider.serving():
        yield provider


@every
async def test_a_whole_answer_of_a_broken_connection_is_read(
    sloppy: Sloppy, name: str
) -> None:
    sloppy.body = json.dumps(whole(name)).encode()
    assert (await ask(name, asked(sloppy, name))).text == "yes"
    sloppy.body = sloppy.body[:-1]
    with pytest.raises(errors.CannotConnectError):
        await ask(name, asked(sloppy, name))


@every
async def test_a_connection_may_break_after_the_end_of_a_stream(
    sloppy: Sloppy, name: str
) -> None:
    lines = [f"data: {json.dumps(event)}\n\n" for event in streamed(name)]
    sloppy.body = "".join(lines).encode()
    assert text_of(await read(name, asked(sloppy, name))) == "yes"
    sloppy.body = "".join(lines[: 1 if name == "Gemini" else 3]).encode()
    items, error = await until_error(name, asked(sloppy, name))
    assert type(error) is errors.CannotConnectError
    assert error.partial_text == text_of(items) == "ye"


def thoughts_alone(name: str) -> web.Response:
    if name == "Anthropic":
        content = [{"type": "thinking", "thinking": "hm", "signature": "x"}]
        return web.json_response({**MESSAGE, "content": content})
    if name == "Gemini":
        return web.json_response(gemini({"text": "hm", "thought": True}))
    return chat("", reasoning_content="hm")


@every
async def test_thoughts_without_an_answer_are_a_failed_generation(
    provider: Recorder, name: str
) -> None:
    provider.answer = lambda _: thoughts_alone(name)
    with pytest.raises(errors.FailedGenerationError, match="thoughts") as no:
        await ask(name, asked(provider, name))
    assert no.value.partial_text == "hm"


@every
async def test_an_answer_that_is_not_encoded_as_it_says_is_unreadable(
    provider: Recorder, name: str
) -> None:
    provider.answer = lambda _: web.Response(
        body=b"{}",
        content_type="application/json",
        headers={"Content-Encoding": "gzip"},
    )
    with pytest.raises(errors.UnreadableAnswerError):
        await ask(name, asked(provider, name))
