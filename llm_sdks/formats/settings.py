"""Checks of a model's settings that several providers share."""

from importlib.util import find_spec
from urllib.parse import urlsplit

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.errors import ConfigurationError


def require(*modules: str, install: str) -> None:
    """Make sure that libraries are installed, without importing them.

    Raises:
        ImportError: names what to install. The registry reports it and
            leaves the plug-in out.
    """
    for module in modules:
        if not _is_installed(module):
            raise ImportError(
                f"the library {module!r} is not installed; "
                f"install {install!r}",
                name=module,
            )


def check_key(config: LLMConfig) -> None:
    """Make sure that there is a key and that a header can carry it."""
    key = config.api_key.get_secret_value()
    if not key:
        raise ConfigurationError("The model has no API key")
    if not (key.isascii() and key.isprintable()):
        raise ConfigurationError(
            "The model's API key holds characters that cannot be sent, "
            "such as a line end"
        )


def check_endpoint(config: LLMConfig, example: str) -> None:
    """Make sure that the endpoint, if there is one, is a base URL.

    The message never quotes it: it may hold a password.
    """
    if not config.endpoint:
        return
    problem = endpoint_problem(config.endpoint)
    if problem is not None:
        raise ConfigurationError(f"endpoint {problem}")
    if not _is_base_url(config.endpoint):
        raise ConfigurationError(
            f"endpoint must be an http(s) base URL, such as {example}"
        )


def endpoint_problem(endpoint: str) -> str | None:
    """Tell what is wrong with an endpoint, of whatever scheme.

    Spaces around it are allowed. The text never quotes the endpoint: it may
    hold a password.
    """
    endpoint = endpoint.strip()
    if any(
        letter.isspace() or not letter.isprintable() for letter in endpoint
    ):
        return "must not contain spaces or control characters"
    try:
        parts = urlsplit(endpoint)
        _ = parts.port  # raises for what is no number
    except ValueError:
        return "must be a valid URL"
    if "@" in parts.netloc:
        return (
            "must not hold a user name or password; the model's key goes into "
            "the environment"
        )
    if "?" in endpoint or "#" in endpoint:
        return "must be a base URL, without a query or fragment"
    return None


def need_endpoint(config: LLMConfig, example: str) -> None:
    """Make sure that there is an endpoint and that it is a base URL."""
    if not config.endpoint:
        raise ConfigurationError(
            f"endpoint is missing; it looks like {example}"
        )
    check_endpoint(config, example)


def need_token_limit(config: LLMConfig) -> None:
    """Make sure that the answer's length is limited."""
    if token_limit(config) is None:
        raise ConfigurationError(
            "maxToken or maxCompletionToken is missing; this provider "
            "needs a limit"
        )


def token_limit(config: LLMConfig) -> int | None:
    """Return the limit of an answer's tokens, whichever field sets it."""
    if config.max_completion_token is not None:
        return config.max_completion_token
    return config.max_token


def _is_base_url(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        _ = parts.port  # raises for what is no number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False  # a package above it is missing
