"""A plug-in under check, and how to look at what it does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from llm_sdks import errors
from llm_sdks.base_sdk import CompletionRequest, StreamItem, Usage
from llm_sdks.conformance.stand_in import StandIn

# A call that is meant to be answered.
_LONG_SECONDS = 30.0


class ConformanceError(AssertionError):
    """The plug-in does not do what it must; says what."""


class Bench:
    """A plug-in and its stand-in, during one check."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self.sdk = stand_in.sdk()

    def request(
        self,
        *,
        timeout: float = _LONG_SECONDS,
        **changes: Any,  # noqa: ANN401 - any fields of a request
    ) -> CompletionRequest:
        """Make a request to the stand-in."""
        request = CompletionRequest(
            self.stand_in.config(), "Be brief.", "Is it so?", 0.5, timeout
        )
        return replace(request, **changes)

    async def whole(self, request: CompletionRequest) -> str:
        """Ask for a whole answer."""
        return (await self.sdk.acomplete(request)).text

    async def streamed(self, request: CompletionRequest) -> str:
        """Ask for a stream and read it to its end."""
        return _text([item async for item in self.sdk.astream(request)])

    async def blocking(self, request: CompletionRequest) -> str:
        """Ask for a whole answer, from a thread."""
        answer = await asyncio.to_thread(self.sdk.complete, request)
        return answer.text

    async def blocking_stream(self, request: CompletionRequest) -> str:
        """Ask for a stream and read it to its end, from a thread."""
        return _text(
            await asyncio.to_thread(lambda: list(self.sdk.stream(request)))
        )

    @property
    def ways(self) -> tuple[Callable[[CompletionRequest], Any], ...]:
        """All ways to ask."""
        return (
            self.whole,
            self.streamed,
            self.blocking,
            self.blocking_stream,
        )


def expect(found: object, wanted: object, what: str) -> None:
    """Compare.

    Raises:
        ConformanceError: the two differ; says in what.
    """
    if found != wanted:
        raise ConformanceError(f"{what}: {found!r}, wanted {wanted!r}")


def plain(usage: object) -> object:
    """Return only those counts of a usage that every provider reports."""
    if isinstance(usage, Usage):
        return Usage(usage.input_tokens, usage.output_tokens)
    return usage


async def failure(call: Awaitable[Any], kind: type[errors.LLMError]) -> Any:  # noqa: ANN401 - an error of that kind
    """Return the error of that kind that a call must end with."""
    try:
        answer = await call
    except kind as error:
        return error
    except Exception as error:
        raise ConformanceError(
            f"{type(error).__name__} ({error}), wanted {kind.__name__}"
        ) from error
    raise ConformanceError(f"no {kind.__name__}, but {answer!r}")


async def leave(items: AsyncIterator[StreamItem]) -> None:
    """Stop reading a stream."""
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


async def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something, at most some seconds."""
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise ConformanceError(f"{what}: waited for in vain")


async def until_closed(stand_in: StandIn) -> None:
    """Wait until the provider works on nothing more."""
    await until(lambda: stand_in.open_calls() == 0, "the provider's end")


def _text(items: list[StreamItem]) -> str:
    return "".join(item for item in items if isinstance(item, str))
