"""Embeddings of each provider, over a real socket."""

from array import array
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import openai
import pytest
from aiohttp import web

from llm_sdks import errors
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    LLMConfig,
    StreamItem,
)
from llm_sdks.formats import openai_embeddings_api
from llm_sdks.registry import SdkRegistry
from llm_sdks.usage import Usage
from tests.support.questions import question
from tests.support.recorder import Recorder, recorder

VECTORS = [[0.5, -0.25], [1.0, 0.0]]


@pytest.fixture
async def provider() -> AsyncIterator[Recorder]:
    async with recorder() as kept:
        yield kept


def _request(provider: Recorder, **more: Any) -> EmbeddingRequest:
    dimensions = more.pop("dimensions", None)
    config = question(provider, **more).config
    return EmbeddingRequest(
        config, ("a", "b"), dimensions, timeout=20.0, idempotency_key="k-1"
    )


async def embed(name: str, asked: EmbeddingRequest) -> Embeddings:
    async with aclosing(SdkRegistry.discover().create(name)) as sdk:
        return await sdk.embed(asked)


def _base64(vector: list[float]) -> str:
    return b64encode(array("f", vector).tobytes()).decode()


def _answer(*vectors: Any, **more: Any) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        "model": "theirs-1",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
        **more,
    }


def _lists(found: Embeddings) -> list[list[float]]:
    return [list(vector) for vector in found.vectors]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("OpenAI", "/embeddings"),
        (
            "AzureOpenAI",
            "/openai/deployments/theirs/embeddings?api-version=2024-10-21",
        ),
        ("ChatCompletionsClient", "/embeddings?api-version=2024-10-21"),
    ],
)
@pytest.mark.parametrize("encode", [list, _base64])
async def test_embeddings_of_openais_format(
    provider: Recorder, name: str, path: str, encode: Any
) -> None:
    content = _answer(*map(encode, VECTORS))
    content["data"].reverse()
    provider.answer = lambda _: web.json_response(
        content, headers={"x-request-id": "req_1"}
    )
    asked = _request(provider, api_version="2024-10-21", dimensions=2)
    found = await embed(name, asked)
    assert _lists(found) == VECTORS
    assert found.usage == Usage(3)
    assert (found.model, found.request_id) == ("theirs-1", "req_1")
    assert provider.paths == [path]
    (body,) = provider.bodies
    assert body["input"] == ["a", "b"]
    assert body["dimensions"] == 2
    assert provider.headers[0]["idempotency-key"] == "k-1"


async def test_embeddings_of_a_server_without_base64(
    provider: Recorder,
) -> None:
    def serve(body: dict[str, Any]) -> web.Response:
        if "encoding_format" in body:
            problem = {"message": "Unknown field: encoding_format"}
            return web.json_response({"error": problem}, status=422)
        return web.json_response(_answer(*VECTORS))

    provider.answer = serve
    assert _lists(await embed("OpenAI", _request(provider))) == VECTORS
    assert len(provider.bodies) == 2


async def test_other_refusals_are_not_tried_again(provider: Recorder) -> None:
    problem = {"error": {"message": "dimensions is not supported"}}
    provider.answer = lambda _: web.json_response(problem, status=400)
    with pytest.raises(errors.BadRequestError, match="dimensions"):
        await embed("OpenAI", _request(provider, dimensions=2))
    assert len(provider.bodies) == 1


@pytest.mark.parametrize("model", ["theirs", "gemini-embedding-2"])
async def test_embeddings_of_gemini(provider: Recorder, model: str) -> None:
    provider.answer = lambda _: web.json_response(
        {"embeddings": [{"values": vector} for vector in VECTORS]}
    )
    asked = _request(provider, deployment=model, dimensions=2)
    found = await embed("Gemini", asked)
    assert _lists(found) == VECTORS
    (path,) = provider.paths
    assert path.endswith(f"/models/{model}:batchEmbedContents")
    (body,) = provider.bodies
    texts = [
        request["content"]["parts"][0]["text"] for request in body["requests"]
    ]
    assert texts == ["a", "b"]
    assert body["requests"][0]["outputDimensionality"] == 2


async def test_answers_and_embeddings_have_each_their_path(
    provider: Recorder,
) -> None:
    choice = {"message": {"content": "yes"}, "finish_reason": "stop"}
    provider.answer = lambda _: web.json_response(
        {**_answer(*VECTORS), "choices": [choice]}
    )
    async with aclosing(SdkRegistry.discover().create("OpenAI")) as sdk:
        await sdk.embed(_request(provider))
        await sdk.acomplete(question(provider))
        await sdk.embed(_request(provider))
    assert provider.paths == [
        "/embeddings",
        "/chat/completions",
        "/embeddings",
    ]


@pytest.mark.parametrize(
    "content",
    [
        {"data": []},
        _answer([1.0]),
        _answer([1.0], [1.0, 2.0]),
        _answer([1.0], ["x"]),
        _answer([1.0], "%"),
        _answer([1.0], 5),
        _answer([1.0], [float("inf")]),
        [],
    ],
)
async def test_what_is_no_embeddings_is_an_error(
    provider: Recorder, content: Any
) -> None:
    provider.answer = lambda _: web.json_response(content)
    with pytest.raises(errors.UnreadableAnswerError):
        await embed("OpenAI", _request(provider))


async def test_an_error_in_place_of_embeddings_is_one(
    provider: Recorder,
) -> None:
    problem = {"error": {"message": "No such model", "code": "404"}}
    provider.answer = lambda _: web.json_response(problem)
    with pytest.raises(errors.LLMError, match="No such model"):
        await embed("OpenAI", _request(provider))
    provider.answer = lambda _: web.Response(text="no", status=200)
    with pytest.raises(errors.UnreadableAnswerError):
        await embed("OpenAI", _request(provider))
    provider.answer = lambda _: web.json_response(problem, status=429)
    with pytest.raises(errors.RateLimitedError):
        await embed("OpenAI", _request(provider))


async def test_a_provider_without_embeddings_says_so(
    provider: Recorder,
) -> None:
    with pytest.raises(errors.ConfigurationError, match="'Anthropic'"):
        await embed("Anthropic", _request(provider))
    with pytest.raises(errors.ConfigurationError, match="'test'"):
        await embed("test", _request(provider))


class Slow(BaseLLMSDK):
    """A third party's plug-in: the four methods only."""

    @classmethod
    def get_name(cls) -> str:
        return "Slow"

    def validate_config(self, config: LLMConfig) -> None:
        pass

    def complete(self, request: CompletionRequest) -> Completion:
        raise NotImplementedError

    def stream(self, request: CompletionRequest) -> Iterator[StreamItem]:
        raise NotImplementedError


async def test_a_plain_plug_in_has_no_embeddings(provider: Recorder) -> None:
    with pytest.raises(errors.ConfigurationError, match="'Slow'"):
        await Slow().embed(_request(provider))


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_openais_library_reads_embeddings(
    provider: Recorder, encoding: Any
) -> None:
    def serve(body: dict[str, Any]) -> web.Response:
        asked = openai_embeddings_api.read(body)
        assert (asked.model, asked.texts) == ("m", ("a", "b"))
        answer = Embeddings(tuple(VECTORS), Usage(3))
        return web.json_response(
            openai_embeddings_api.write(answer, asked.model, asked.encoding)
        )

    provider.answer = serve
    async with openai.AsyncOpenAI(
        api_key="k", base_url=provider.url
    ) as client:
        found = await client.embeddings.create(
            model="m", input=["a", "b"], encoding_format=encoding
        )
        simple = await client.embeddings.create(model="m", input=["a", "b"])
    assert [each.embedding for each in simple.data] == VECTORS
    assert simple.usage.total_tokens == 3
    if encoding == "float":
        assert [each.embedding for each in found.data] == VECTORS


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": [[1], [2]]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": ["a", 5]}, "input[1]"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"truncate": True}, "truncate"),
        ({"model": None}, "model"),
    ],
)
def test_requests_are_refused_by_path(more: Any, path: str) -> None:
    with pytest.raises(errors.BadRequestError) as raised:
        openai_embeddings_api.read({"model": "m", "input": "a", **more})
    assert raised.value.param == path
