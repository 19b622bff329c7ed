"""The seam between a provider's JSON and the library that carries it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from llm_sdks.base_sdk import LLMConfig

Json = dict[str, Any]
Kind = Literal["answer", "embeddings"]

# Connections of one client: more than any worker has calls at once.
MAX_CONNECTIONS = 2000
# Gateways put whole policies into headers; aiohttp's own limit is 8 kB, and
# an answer above it would be lost.
MAX_HEADER_BYTES = 256 * 1024
MAX_HEADERS = 1000
# No model writes as much; a server that does must not fill the memory.
MAX_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it goes out; times in seconds.

    `kind` is what is asked for.
    """

    model: str
    body: Json
    headers: Mapping[str, str]
    timeout: float
    connect_timeout: float
    read_timeout: float
    kind: Kind = "answer"
    # Set for requests of others, which go out as they are: the body, and
    # which of the provider's interfaces takes it.
    content: bytes | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, unread."""

    content: bytes | str
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that has begun: its bytes as they come, unread.

    Closing `chunks` early ends the provider's work.
    """

    chunks: AsyncGenerator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


class Wire(ABC):
    """One client of one library: one credential, one endpoint, one loop.

    Whatever the library raises leaves here as one of `llm_sdks.errors`.
    """

    @abstractmethod
    async def ask(self, call: Call) -> Reply:
        """Return the provider's answer of status 2xx."""

    @abstractmethod
    async def open(self, call: Call) -> Stream:
        """Return the provider's stream once it has begun."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""


class ClientModule(Protocol):
    """What a module that imports a vendor's library has to offer."""

    def connect(self, config: LLMConfig, connect_timeout: float) -> Wire:
        """Make a client; in the event loop that it will live in."""
