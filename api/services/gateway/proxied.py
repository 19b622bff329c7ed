"""What a client asks of a provider through the proxy."""

from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import unquote

from pydantic_core import to_json

from api.core.dialects import Dialect
from api.models.model_models import Model
from api.services.calls.model_call import CallSize
from api.services.gateway.asked import MOST_REQUEST_BYTES, Json, size_of
from api.services.gateway.upload import Upload
from llm_sdks.formats.passed import is_known
from llm_sdks.passing import HeaderList
from utilities import payload

_LONGEST_PATH = 512
# What stands before a model's name in a path.
_BEFORE_NAMES = frozenset({"deployments", "models"})


@dataclass(frozen=True, slots=True)
class Proxied:
    """One request of whatever kind.

    `path` and `query` are encoded, and safe to be sent. A body is either
    JSON, `body` with the bytes in `raw`, or an `upload`. `headers` go out
    as they are; `max_wait` is how long (s) the request may wait where it
    would be refused for a limit.
    """

    dialect: Dialect
    model: str
    method: str
    path: str
    query: str = ""
    headers: HeaderList = ()
    body: Json | None = field(default=None, repr=False)
    raw: bytes | None = field(default=None, repr=False)
    upload: Upload | None = None
    max_wait: float = 0.0
    request_id: str = ""

    # As a request of a vendor's interface has them.
    temperature = None
    counts_only = False

    @property
    def size(self) -> CallSize:
        """How large the call is, for its reservations."""
        return CallSize(0) if self.body is None else size_of(self.body)

    @property
    def plain_path(self) -> str:
        """The path as the provider reads it."""
        return unquote(self.path).rstrip("/")

    @property
    def is_compressed_json(self) -> bool:
        """Whether the body is JSON that nobody here has read."""
        kinds = [each for name, each in self.headers if name == "content-type"]
        return self.upload is not None and any(map(is_json, kinds))

    @property
    def named_model(self) -> str | None:
        """The model that the path or the body names, if any."""
        for before, name in pairwise(self.plain_path.split("/")):
            if before in _BEFORE_NAMES and name:
                # Google has the method behind a colon.
                return name.rpartition(":")[0] or name
        named = (self.body or {}).get("model")
        return named if isinstance(named, str) else None

    def is_of(self, model: Model) -> bool:
        """Tell whether the provider uses this model for it."""
        return self.named_model in (model.name, _provider_model(model))

    def for_model(self, model: Model, body: Json) -> bytes:
        """Give the body as it goes out, with the provider's model name.

        What has not been changed goes out byte by byte, unless a price
        depends on it: of a name that is there twice, nobody knows which
        one counts.
        """
        if body.get("model") == model.name:
            body = {**body, "model": _provider_model(model)}
        is_same = body == self.body and not is_known(self.plain_path)
        return self.raw if is_same and self.raw else to_json(body)

    def recorded(self, *, keeps_texts: bool) -> str:
        """Give what the record keeps of the request, as JSON."""
        shown: Json = {"method": self.method, "path": self.path}
        if keeps_texts and self.query:
            shown["query"] = self.query
        if self.raw is None:
            return payload.dump(shown)
        if not keeps_texts or len(self.raw) > MOST_REQUEST_BYTES:
            return payload.dump({**shown, "bodyBytes": len(self.raw)})
        # It has been read as JSON: no need to write it anew.
        head = payload.dump(shown)[:-1]
        return f'{head},"body":{self.raw.decode()}}}'

    @property
    def interface_name(self) -> str:
        """What the record calls the interface."""
        return f"/proxy{self.path}"[:_LONGEST_PATH]


def _provider_model(model: Model) -> str:
    return model.deployment or model.name


def is_json(kind: str) -> bool:
    """Tell whether a media type is JSON's."""
    plain = kind.partition(";")[0].strip().lower()
    return plain == "application/json" or plain.endswith("+json")
