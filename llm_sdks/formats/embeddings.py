"""Embeddings of the providers: what is asked, and what comes back."""

import sys
from array import array
from base64 import b64decode
from collections.abc import (
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from math import isfinite
from typing import Any, Protocol

from llm_sdks.calls import EmbeddingRequest, Embeddings
from llm_sdks.errors import BadRequestError
from llm_sdks.formats import failures
from llm_sdks.formats.allowances import tell
from llm_sdks.formats.decoding import read_json
from llm_sdks.formats.reading import (
    WRONG_SHAPE,
    count,
    items_of,
    section,
    word_of,
)
from llm_sdks.usage import Usage
from llm_sdks.wires.wire import Json, Reply

_ENCODING = "encoding_format"


class EmbeddingForm(Protocol):
    """What differs from provider to provider."""

    def body(self, request: EmbeddingRequest) -> Json:
        """Give a call's body."""

    def vectors(self, answer: Any) -> Iterable[Sequence[float]]:  # noqa: ANN401 - a provider's JSON
        """Read the vectors; may raise any of `WRONG_SHAPE`."""

    def usage(self, answer: Mapping[str, Any]) -> Usage:
        """Read what was counted."""


async def ask(
    form: EmbeddingForm,
    request: EmbeddingRequest,
    send: Callable[[Json], Awaitable[Reply]],
) -> Embeddings:
    """Make a call; again without what only makes it cheaper, if refused.

    Raises:
        LLMError: there is no answer, or not a vector of one length a text.
    """
    body = form.body(request)
    try:
        reply = await send(body)
    except BadRequestError as error:
        said = f"{error} {error.param}"
        if _ENCODING not in body or _ENCODING not in said:
            raise
        del body[_ENCODING]
        reply = await send(body)
    return _read(form, request, reply)


def _read(
    form: EmbeddingForm, request: EmbeddingRequest, reply: Reply
) -> Embeddings:
    tell(reply.headers)
    key = request.config.api_key.get_secret_value()
    try:
        answer = read_json(reply.content, reply.headers)
    except ValueError:
        answer = None
    if failures.is_failure(answer):
        raise failures.in_body(answer, reply.headers, key)
    try:
        vectors = tuple(form.vectors(answer))
        _check(vectors, len(request.texts))
    except WRONG_SHAPE:
        raise failures.unreadable(
            "list of embeddings",
            key,
            content=reply.content,
            status=reply.status,
            usage=form.usage(section(answer)),
        ) from None
    return Embeddings(
        vectors,
        form.usage(section(answer)),
        word_of(section(answer).get("model")),
        failures.request_id(reply.headers, key),
    )


def _check(vectors: Sequence[Sequence[float]], wanted: int) -> None:
    if len(vectors) != wanted:
        raise ValueError("another number of vectors than of texts")
    if len({len(vector) for vector in vectors}) > 1:
        raise ValueError("vectors of different lengths")


class OpenAIEmbeddings:
    """OpenAI's, and those of everyone who speaks its language."""

    def body(self, request: EmbeddingRequest) -> Json:
        """Give a call's body; Base64 is a quarter of the length."""
        body: Json = {
            "model": request.config.provider_model,
            "input": list(request.texts),
            _ENCODING: "base64",
        }
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return body

    def vectors(self, answer: Any) -> Iterable[Sequence[float]]:  # noqa: ANN401 - a provider's JSON
        """Read the vectors, in the texts' order."""
        data = answer["data"]
        if all("index" in item for item in data):
            data = sorted(data, key=lambda item: int(item["index"]))
        return [_vector(item["embedding"]) for item in data]

    def usage(self, answer: Mapping[str, Any]) -> Usage:
        """Read what was counted."""
        counts = section(answer, "usage")
        return Usage(count(counts, "prompt_tokens", "total_tokens"))


class GeminiEmbeddings:
    """Google's; it does not always count tokens."""

    def body(self, request: EmbeddingRequest) -> Json:
        """Give the arguments of the library's `embed_content`."""
        config: Json = {}
        if request.dimensions is not None:
            config["output_dimensionality"] = request.dimensions
        # Each a content: texts alone would be joined for some models.
        contents = [{"parts": [{"text": text}]} for text in request.texts]
        return {"contents": contents, "config": config}

    def vectors(self, answer: Any) -> Iterable[Sequence[float]]:  # noqa: ANN401 - a provider's JSON
        """Read the vectors."""
        return [_vector(item["values"]) for item in answer["embeddings"]]

    def usage(self, answer: Mapping[str, Any]) -> Usage:
        """Read what was counted."""
        counts = section(answer, "usageMetadata")
        counted = [
            count(section(statistics, "statistics"), "tokenCount")
            for statistics in items_of(answer.get("embeddings"))
        ]
        return Usage(count(counts, "promptTokenCount") or sum(counted))


def _vector(value: object) -> Sequence[float]:
    """Read a vector: numbers, or Base64 of floats of four bytes."""
    if isinstance(value, str):
        vector = array("f", b64decode(value, validate=True))
        if sys.byteorder == "big":  # pragma: no cover - as the machine is
            vector.byteswap()
    elif isinstance(value, list):
        vector = array("d", value)
    else:
        raise TypeError("a vector was expected")
    if not all(map(isfinite, vector)):
        raise ValueError("a vector holds what is no number")
    return vector
