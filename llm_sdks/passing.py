"""Requests of any kind that pass a plug-in on their way to its provider.

The plug-in adds the address and the credential, and knows nothing of what
is asked: files, batches, audio, whatever the provider has.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from llm_sdks.base_sdk import CompletionRequest

# Names in lower case.
HeaderList = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a provider is, and how its requests carry the key.

    Without an endpoint, a model is at `url`, or at the address in the
    environment's `variable`, as in the vendor's library.
    """

    header: str
    prefix: str = ""
    url: str = ""
    variable: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Destination:
    """A model's base URL, and the headers with its credential."""

    url: str
    headers: HeaderList
    # Must not be in any message.
    key: str


@dataclass(frozen=True, slots=True)
class PassRequest:
    """One request of whatever kind.

    `base` has the model and the times that the call may take. `path` is
    what follows the model's endpoint, `query` what follows the path; both
    are encoded. A `body` of bytes can be sent again, another one only once.
    """

    base: CompletionRequest
    method: str
    path: str
    query: str = ""
    headers: HeaderList = ()
    body: bytes | AsyncIterator[bytes] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Passed:
    """An answer of whatever status that has begun; its bytes are unread.

    Closing `chunks` early ends the connection.
    """

    status: int
    headers: HeaderList
    chunks: AsyncGenerator[bytes]


def path_under(endpoint: str, path: str) -> str:
    """Give the path below an endpoint, without what the endpoint has.

    `/v1/files` below `https://host/v1` is `/files`, and so is `/files`:
    a beginning of the path that is the end of the endpoint's is the same.
    """
    own = [each for each in urlsplit(endpoint).path.split("/") if each]
    asked = path.removeprefix("/").split("/")
    for length in range(min(len(own), len(asked)), 0, -1):
        if own[-length:] == asked[:length]:
            asked = asked[length:]
            break
    return "/" + "/".join(asked) if asked else ""


async def first_bytes(chunks: AsyncGenerator[bytes], most: int) -> bytes:
    """Read an answer to its end, or to its first `most` bytes."""
    found = bytearray()
    async with aclosing(chunks):
        async for chunk in chunks:
            found += chunk
            if len(found) >= most:
                break
    return bytes(found[:most])
