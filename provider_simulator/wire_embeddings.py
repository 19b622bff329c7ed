"""OpenAI's embeddings."""

import base64
import hashlib
import struct
from collections.abc import Iterator
from typing import Any

from provider_simulator.values import (
    Answer,
    Call,
    Event,
    Request,
    bad_request,
    count_tokens,
)
from provider_simulator.wire import Body, positive
from provider_simulator.wire_openai import OpenAIWire

_DIMENSIONS = 8
_SEPARATOR = "\0"


class EmbeddingsWire(OpenAIWire):
    """`/v1/embeddings`: the same text has the same vector."""

    name = "openai_embeddings"

    def call(self, body: Body, request: Request) -> Call:
        """Read a request."""
        given = body.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts:
            raise bad_request("Missing required parameter: 'input'.")
        if not all(isinstance(text, str) and text for text in texts):
            raise bad_request("'input' must hold texts.")
        options: dict[str, Any] = {
            "texts": texts,
            "dimensions": positive(body, "dimensions") or _DIMENSIONS,
            "base64": body.get("encoding_format") == "base64",
        }
        return Call(
            model=self.model(body, request),
            text=_SEPARATOR.join(texts),
            input_tokens=sum(map(count_tokens, texts)),
            options=options,
        )

    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return a list of vectors."""
        del number
        options = call.options or {}
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _vector(
                    text,
                    options["dimensions"],
                    is_base64=options["base64"],
                ),
            }
            for index, text in enumerate(options["texts"])
        ]
        tokens = answer.tokens.input
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {
            "object": "list",
            "data": data,
            "model": call.model,
            "usage": usage,
        }

    def events(
        self, call: Call, answer: Answer, number: int
    ) -> Iterator[Event]:
        """Yield nothing: there are no streams."""
        del call, answer, number
        return iter(())


def _vector(
    text: str, dimensions: int, *, is_base64: bool
) -> list[float] | str:
    digest = hashlib.shake_128(text.encode()).digest(dimensions)
    values = [byte / 128 - 1 for byte in digest]
    if not is_base64:
        return values
    packed = struct.pack(f"<{dimensions}f", *values)
    return base64.b64encode(packed).decode()
