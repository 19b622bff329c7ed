"""What a client asks of a vendor's interface: read, not changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from api.core.dialects import Dialect
from api.core.errors import ParameterError
from api.core.request_body import check_values
from api.services.calls.model_call import CallSize
from api.services.calls.routing.choosing import Question
from llm_sdks.forwarding import Interface
from utilities import payload

Json = dict[str, Any]

# No model has a longer name.
_LONGEST_NAME = 256
# A picture is scaled down before it is read; vendors name about 1,600
# tokens for one of the largest size, and 5,000 for the finest detail.
_PICTURE_BYTES = 6_000
_ABSURD = 1e6
# A larger request is not kept: a document ends at 16 MiB.
MOST_REQUEST_BYTES = 256 * 1024
# What the vendors call a part that is a picture.
_PICTURES = ("image_url", "image", "input_image")
_OUTPUT_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request in a vendor's format.

    `max_wait` is how long (s) it may wait where it would be refused for a
    limit; `headers` are those that the vendor's interface knows.
    """

    interface: Interface
    dialect: Dialect
    model: str
    body: Json = field(repr=False)
    raw: bytes = field(repr=False)
    is_stream: bool = False
    max_wait: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""

    @property
    def size(self) -> CallSize:
        """How large the call is, for its reservations."""
        return size_of(self.body)

    @property
    def counts_only(self) -> bool:
        """Whether it uses and costs nothing."""
        return self.interface.counts_only

    @property
    def interface_name(self) -> str:
        """What the record calls the interface."""
        return f"/v1{self.interface}"

    def recorded(self, *, keeps_texts: bool) -> str:
        """Give what the record keeps of the request, as JSON."""
        if not keeps_texts or len(self.raw) > MOST_REQUEST_BYTES:
            return payload.dump({"bodyBytes": len(self.raw)})
        # It has been read as JSON: no need to write it anew.
        return f'{{"body":{self.raw.decode()}}}'

    @property
    def temperature(self) -> float | None:
        """What the request says of it."""
        value = self.body.get("temperature")
        if isinstance(value, int | float) and abs(value) < _ABSURD:
            return float(value)
        return None

    def wants_usage(self) -> bool:
        """Tell whether the client asks for the usage of a stream."""
        return wants_usage(self.body)

    def sent(self, model: str, *, asks_usage: bool = False) -> bytes:
        """Give the body as it goes out: with the provider's model name.

        `asks_usage` asks for the usage of a stream in addition.
        """
        body = with_usage(self.body) if asks_usage else self.body
        return to_json({**body, "model": model})


def size_of(body: Json) -> CallSize:
    """Give the size of the call that a body asks for."""
    limit = max(_whole_number(body.get(each)) for each in _OUTPUT_LIMITS)
    answers = max(_whole_number(body.get("n")), 1)
    return CallSize(_size(body), limit * answers or None)


def question_of(asked: Asked) -> Question:
    """Say what is asked, as far as the choice of a model depends on it."""
    size = asked.size
    return Question(
        size.input_bytes,
        size.output_tokens,
        has_images=_has_images(asked.body),
        has_tools=bool(asked.body.get("tools")),
    )


def wants_usage(body: Json) -> bool:
    """Tell whether a body asks for the usage of a stream."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def with_usage(body: Json) -> Json:
    """Give the body that asks for the usage of a stream in addition."""
    options = body.get("stream_options")
    known = options if isinstance(options, dict) else {}
    return {**body, "stream_options": {**known, "include_usage": True}}


def read_body(raw: bytearray) -> Json:
    """Read a request's body.

    Raises:
        ParameterError: it is no JSON object.
        TooLargeError: it has more values than are read.
    """
    check_values(raw)
    try:
        body = from_json(bytes(raw), allow_inf_nan=False)
    except ValueError as error:
        raise ParameterError(
            f"The body cannot be read as JSON: {error}"
        ) from None
    if not isinstance(body, dict):
        raise ParameterError("The body must be a JSON object")
    return body


def model_of(body: Json) -> str:
    """Return the model that a body names.

    Raises:
        ParameterError: it names none.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ParameterError(
            "You must provide a model: the name of one that is configured",
            "model",
        )
    return model[: _LONGEST_NAME + 1]


def stream_of(body: Json) -> bool:
    """Tell whether a body asks for a stream.

    Raises:
        ParameterError: it says neither yes nor no.
    """
    value = body.get("stream")
    if value is None or isinstance(value, bool):
        return bool(value)
    raise ParameterError("stream must be true or false", "stream")


def _whole_number(value: object) -> int:
    is_number = type(value) is int and 0 < value < 2**53
    return value if is_number else 0  # type: ignore[return-value] # checked


def _size(value: object) -> int:
    """Return no less than the number of tokens that a body has."""
    size, open_values = 0, [value]
    while open_values:
        each = open_values.pop()
        if isinstance(each, str):
            size += _bytes_of(each)
        elif isinstance(each, list):
            open_values.extend(each)
        elif isinstance(each, dict):
            size += sum(map(_bytes_of, each))
            picture = _picture_in(each)
            size += _PICTURE_BYTES if picture else 0
            open_values.extend(
                inner for key, inner in each.items() if key != picture
            )
    return size


def _has_images(body: Json) -> bool:
    open_values: list[object] = [body.get("messages"), body.get("input")]
    while open_values:
        each = open_values.pop()
        if isinstance(each, list):
            open_values.extend(each)
        elif isinstance(each, dict):
            if each.get("type") in _PICTURES:
                return True
            open_values.append(each.get("content"))
    return False


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _picture_in(part: Json) -> str | None:
    """Return the name of the field with a picture's data, if any."""
    for name in ("url", "image_url"):
        value = part.get(name)
        if isinstance(value, str) and value.startswith("data:image/"):
            return name
    kind = part.get("media_type")
    if isinstance(kind, str) and kind.startswith("image/"):
        return "data" if isinstance(part.get("data"), str) else None
    return None
