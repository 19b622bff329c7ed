"""OpenAI's embeddings as clients speak them: requests in, answers out."""

import sys
from array import array
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llm_sdks.calls import Embeddings
from llm_sdks.formats.api import Json
from llm_sdks.formats.fields import Fields, refuse, unsupported
from llm_sdks.formats.openai_errors import status_of, write_error

__all__ = ["EmbeddingsAsked", "read", "status_of", "write", "write_error"]

Encoding = Literal["float", "base64"]
# OpenAI's own limits.
MOST_TEXTS = 2048
_MOST_DIMENSIONS = 65_536


@dataclass(frozen=True, slots=True)
class EmbeddingsAsked:
    """A client's request, in our own terms."""

    model: str
    texts: tuple[str, ...]
    dimensions: int | None = None
    encoding: Encoding = "float"


def read(body: Mapping[str, Any]) -> EmbeddingsAsked:
    """Read a request.

    Raises:
        BadRequestError: names the field that is wrong or not translatable.
    """
    fields = Fields(body)
    model = fields.need_text("model")
    fields.drop("user")
    encoding: Encoding | None = fields.word("encoding_format", Encoding)
    asked = EmbeddingsAsked(
        model,
        _texts(fields),
        fields.whole_number("dimensions", 1, _MOST_DIMENSIONS),
        encoding or "float",
    )
    fields.end()
    return asked


def _texts(fields: Fields) -> tuple[str, ...]:
    path = fields.at("input")
    value = fields.take("input")
    if isinstance(value, list) and value and not isinstance(value[0], str):
        # Only the provider's own tokenizer knows what they mean.
        unsupported(path, "an array of tokens")
    texts = Fields({"input": value}).texts("input")
    if not texts or not all(texts):
        refuse(path, "must hold at least one text, and no empty one")
    if len(texts) > MOST_TEXTS:
        refuse(path, f"has more than {MOST_TEXTS} items")
    return texts


def write(
    answer: Embeddings, model: str, encoding: Encoding = "float"
) -> Json:
    """Write an answer; `model` is what the client called the model."""
    tokens = answer.usage.input_tokens
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _encoded(vector, encoding),
            }
            for index, vector in enumerate(answer.vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _encoded(vector: Sequence[float], encoding: Encoding) -> list[float] | str:
    if encoding == "float":
        return list(vector)
    floats = array("f", vector)
    if sys.byteorder == "big":  # pragma: no cover - as the machine is
        floats.byteswap()
    return b64encode(floats.tobytes()).decode()
