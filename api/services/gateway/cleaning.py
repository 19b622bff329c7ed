"""What of a request to the proxy goes to the provider, and back.

A path stays below the model's endpoint, the client's credential stays
here, and no header of one connection is taken for one of another.
"""

import re
from collections.abc import Callable
from urllib.parse import unquote

from api.core.errors import ParameterError
from llm_sdks.passing import HeaderList

# Those of one connection (RFC 9110, 7.6.1), and what HTTP writes anew.
_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate",
        "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip
# A credential by any vendor's name for it, and by ours.
_CREDENTIALS = frozenset(
    {
        "admin-api-key", "api-key", "authorization", "client-api-key",
        "client-id", "cookie", "x-api-key", "x-goog-api-key",
    }
)  # fmt: skip
# What tells of the way from the client to here, or is said by us.
_OF_THE_WAY = frozenset(
    {
        "accept-encoding", "expect", "forwarded", "host", "via",
        "x-correlation-id", "x-real-ip",
    }
)  # fmt: skip
_OUR_PREFIXES = ("x-forwarded-", "x-metasync-")
_SECRET_PARAMETERS = frozenset(
    {"access-token", "api-key", "apikey", "key", "x-api-key", "x-goog-api-key"}
)
# Of the provider's answer: its dealings with a browser, and whose account
# it is.
_NOT_GIVEN_BACK = frozenset(
    {
        "alt-svc", "anthropic-organization-id", "nel", "openai-organization",
        "openai-project", "report-to", "set-cookie", "set-cookie2",
        "strict-transport-security", "www-authenticate", "x-correlation-id",
        "x-stream-id",
    }
)  # fmt: skip
_BROWSERS = "access-control-"
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_QUERY = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/?\[\]{}|^`\"<>\\-]*")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MOST_DECODED = 4


def safe_path(path: str) -> str:
    """Check a path that is to follow an endpoint; it stays encoded.

    It begins with a slash.

    Raises:
        ParameterError: it could lead elsewhere, or servers differ in where
            it leads.
    """
    if not _PATH.fullmatch(path) or _ESCAPE.search(path):
        raise _bad_path("has characters that must be percent-encoded")
    segments = path[1:].split("/")
    if "" in segments[:-1]:
        raise _bad_path("has an empty part")
    for segment in segments:
        _check_segment(segment)
    return "/" + "/".join(segments)


def _check_segment(segment: str) -> None:
    plain = segment
    for _ in range(_MOST_DECODED):
        decoded = unquote(plain, errors="replace")
        if decoded == plain:
            break
        plain = decoded
    else:
        raise _bad_path("is encoded more than once")
    if any(letter in "/\\" or not letter.isprintable() for letter in plain):
        raise _bad_path("has an encoded slash or control character")
    # What follows a semicolon is no part of the name to some servers.
    if plain.partition(";")[0] in (".", ".."):
        raise _bad_path("has a part `.` or `..`")


def _bad_path(problem: str) -> ParameterError:
    return ParameterError(f"The path {problem}", "path")


def clean_query(query: str, secret: str) -> str:
    """Give a query without credentials; the rest is not changed.

    Raises:
        ParameterError: it has characters that no query has.
    """
    if not _QUERY.fullmatch(query):
        raise ParameterError(
            "The query has characters that must be percent-encoded", "query"
        )
    kept = [
        pair
        for pair in query.split("&")
        if not is_secret_parameter(pair) and secret not in unquote(pair)
    ]
    return "&".join(kept)


def is_secret_parameter(pair: str) -> bool:
    """Tell whether a part of a query is a credential."""
    name = unquote(pair.partition("=")[0]).lower().replace("_", "-")
    return name in _SECRET_PARAMETERS


def sent_headers(headers: HeaderList, secret: str) -> HeaderList:
    """Give the headers of a request that go on, and none of a credential.

    The client's own `secret` goes nowhere, in whatever header it came.
    """
    dropped = _of_connection(headers)

    def is_kept(name: str, value: str) -> bool:
        plain = name.replace("_", "-")
        return (
            name not in dropped
            and plain not in _CREDENTIALS | _OF_THE_WAY
            and not plain.startswith(_OUR_PREFIXES)
            and secret not in value
        )

    # Usage can be read of an answer that is not compressed.
    return [*_kept(headers, is_kept), ("accept-encoding", "identity")]


def shown_headers(headers: HeaderList, key: str) -> dict[str, str]:
    """Give the headers of an answer that go back; the key never does."""
    dropped = _of_connection(headers) | _NOT_GIVEN_BACK

    def is_kept(name: str, value: str) -> bool:
        has_key = bool(key) and key in value
        is_browsers = name.startswith(_BROWSERS)
        return name not in dropped and not is_browsers and not has_key

    found: dict[str, str] = {}
    for name, value in _kept(headers, is_kept):
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _kept(
    headers: HeaderList, is_kept: Callable[[str, str], bool]
) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if is_kept(name, value)]


def _of_connection(headers: HeaderList) -> frozenset[str]:
    """Return the names of the headers that are one connection's."""
    named = [value for name, value in headers if name == "connection"]
    listed = {
        each.strip().lower() for value in named for each in value.split(",")
    }
    return _HOP_BY_HOP | listed
