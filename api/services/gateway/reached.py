"""Which requests of the proxy may go where."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from api.core.errors import ForbiddenError, ParameterError
from api.models.model_models import Model
from api.services.gateway.filters import allows
from api.services.gateway.proxied import Proxied
from llm_sdks.passing import path_under

_USUAL_PORTS = frozenset({80, 443})


def check_passable(asked: Proxied, model: Model, base_url: str) -> None:
    """Make sure that a request may go to a model's provider.

    `base_url` is empty if the provider takes no requests but a plug-in's.

    Raises:
        ParameterError: it cannot, or its fields could not be filtered.
        ForbiddenError: the model's filters do not allow the path.
    """
    if not base_url:
        raise ParameterError(
            f"The provider of the model {asked.model!r} ({model.sdk}) takes "
            "no requests through the proxy",
            "model",
        )
    below = path_under(base_url, asked.path)
    path = urlsplit(base_url).path.rstrip("/") + below
    if not allows(model.filters, path):
        raise ForbiddenError(
            f"The model {asked.model!r} does not allow the path {path}"
        )
    has_rules = model.filters is not None and model.filters.remove_fields
    if has_rules and asked.is_compressed_json:
        raise ParameterError(
            "The body must not be compressed: fields are removed from it",
            "content-encoding",
        )


def model_at(
    host: str, asked: Proxied, models: Iterable[tuple[Model, str]]
) -> str:
    """Return the name of the model that a request to a host is for.

    `models` come with their base URLs. Of several at one host it is the one
    that the request names, else the first by name.

    Raises:
        ForbiddenError: there is none.
    """
    found = sorted(
        (not asked.is_of(model), model.name)
        for model, url in models
        if url and _is_at(url, host, asked.path)
    )
    if not found:
        raise ForbiddenError(f"No model is at {host[:256]}{asked.path[:256]}")
    return found[0][1]


def _is_at(url: str, host: str, path: str) -> bool:
    try:
        known, sent = urlsplit(url), urlsplit(f"//{host}")
        same = known.hostname == sent.hostname
        has_same_port = _port(known.port) == _port(sent.port)
    except ValueError:
        return False
    below = known.path.rstrip("/")
    is_below = path == below or path.startswith(f"{below}/")
    return same and has_same_port and is_below


def _port(port: int | None) -> int | None:
    # A client that asks a proxy means the usual port of either scheme.
    return None if port in _USUAL_PORTS else port
