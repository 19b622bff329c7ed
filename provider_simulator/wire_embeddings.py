"""Embeddings, of OpenAI's format and of Gemini's."""

import struct
from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from math import sqrt
from random import Random
from typing import Any

from provider_simulator.values import (
    Answer,
    Call,
    Request,
    bad_request,
    count_tokens,
)
from provider_simulator.wire import Body, items, mapping, positive, text_of
from provider_simulator.wire_gemini import GeminiWire
from provider_simulator.wire_openai import (
    AzureInferenceWire,
    AzureOpenAIWire,
    OpenAIWire,
)

DIMENSIONS = 64
_MOST_DIMENSIONS = 4096


class EmbeddingsWire(OpenAIWire):
    """OpenAI's own."""

    name = "openai_embeddings"

    def call(self, body: Body, request: Request) -> Call:
        """Read a request."""
        asked = body.get("input")
        texts = [asked] if isinstance(asked, str) else asked
        if not isinstance(texts, list) or not texts:
            raise bad_request("Missing required parameter: 'input'.")
        encoding = body.get("encoding_format", "float")
        if encoding not in ("float", "base64"):
            raise bad_request("encoding_format: must be float or base64")
        return Call(
            self.model(body, request),
            (str(texts[-1]),),
            sum(count_tokens(str(text)) for text in texts),
            embeds=tuple(map(str, texts)),
            dimensions=_dimensions(body, "dimensions"),
            base64=encoding == "base64",
        )

    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return a list of embeddings."""
        del number
        tokens = answer.tokens.input
        return {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": _base64(floats) if call.base64 else floats,
                }
                for index, floats in enumerate(_vectors(call))
            ],
            "model": call.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }


class AzureInferenceEmbeddingsWire(EmbeddingsWire, AzureInferenceWire):
    """Azure AI Inference."""

    name = "azure_inference_embeddings"


class AzureOpenAIEmbeddingsWire(EmbeddingsWire, AzureOpenAIWire):
    """Azure OpenAI: the deployment is in the path."""

    name = "azure_openai_embeddings"


class GeminiEmbeddingsWire(GeminiWire):
    """`batchEmbedContents`."""

    name = "gemini_embeddings"

    def call(self, body: Body, request: Request) -> Call:
        """Read a request."""
        asked = items(body, "requests")
        texts = [
            text_of(mapping(each.get("content")).get("parts"))
            for each in asked
        ]
        return Call(
            request.path.rpartition("/")[2].partition(":")[0],
            (texts[-1],),
            sum(map(count_tokens, texts)),
            embeds=tuple(texts),
            dimensions=_dimensions(asked[0], "outputDimensionality"),
        )

    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return the vectors; Gemini counts no tokens here."""
        del answer, number
        return {"embeddings": [{"values": each} for each in _vectors(call)]}


def _dimensions(body: Body, name: str) -> int:
    wanted = positive(body, name) or DIMENSIONS
    if wanted > _MOST_DIMENSIONS:
        raise bad_request(f"{name}: must be at most {_MOST_DIMENSIONS}")
    return wanted


def _vectors(call: Call) -> list[list[float]]:
    dimensions = call.dimensions or DIMENSIONS
    return [list(vector(text, dimensions)) for text in call.embeds or ()]


@lru_cache(maxsize=1000)
def vector(text: str, dimensions: int) -> tuple[float, ...]:
    """Return a vector of length 1, the same for the same text."""
    random = Random(sha256(text.encode()).digest())  # noqa: S311 - no secret
    numbers = [random.gauss(0, 1) for _ in range(dimensions)]
    length = sqrt(sum(number * number for number in numbers))
    return tuple(number / length for number in numbers)


def _base64(floats: list[Any]) -> str:
    return b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()
