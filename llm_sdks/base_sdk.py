"""The contract between Metasync and a provider's plug-in.

A third party implements the four methods of `BaseLLMSDK` (`get_name`,
`validate_config`, `complete`, `stream`) in plain synchronous Python; the
asynchronous counterparts then run them in threads. Plug-ins that can
speak to their provider asynchronously override `acomplete` and `astream`.
`docs/writing-a-plugin.md` has an example.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from typing import ClassVar, TypeVar

from llm_sdks.answers import (
    Answer,
    Begun,
    Ended,
    Event,
    Finish,
    TextDelta,
    TextOut,
    UsageSeen,
)
from llm_sdks.calls import (
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    LLMConfig,
    StreamItem,
)
from llm_sdks.errors import (
    ConfigurationError,
    ContentFilteredError,
    PartialAnswerError,
    TruncatedError,
)
from llm_sdks.usage import Usage

__all__ = [
    "BaseLLMSDK",
    "Completion",
    "CompletionRequest",
    "EmbeddingRequest",
    "Embeddings",
    "LLMConfig",
    "StreamItem",
    "Usage",
    "in_daemon_thread",
]

T = TypeVar("T")


class BaseLLMSDK(ABC):
    """One provider. An instance lives in one worker's thread and loop."""

    # Whether a model of this provider must have a key in the environment.
    needs_key: ClassVar[bool] = True
    # The environment variable in which its users keep that key.
    usual_key_variable: ClassVar[str] = "LLM_API_KEY"
    # Whether its asynchronous calls end by themselves within the timeout.
    keeps_time: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def get_name(cls) -> str:
        """Return the name that a model's `sdk` field uses."""

    @abstractmethod
    def validate_config(self, config: LLMConfig) -> None:
        """Check a model's settings before the first call.

        Raises:
            ConfigurationError: says what is missing or wrong.
        """

    @abstractmethod
    def complete(self, request: CompletionRequest) -> Completion:
        """Return the whole answer. May block.

        Raises:
            LLMError: one of the family in `llm_sdks.errors`.
        """

    @abstractmethod
    def stream(self, request: CompletionRequest) -> Iterator[StreamItem]:
        """Yield the answer as it comes. May block.

        Raises:
            LLMError: one of the family in `llm_sdks.errors`.
        """

    async def aprepare(self, request: CompletionRequest) -> None:  # noqa: B027 - most have nothing to prepare
        """Do what takes long before the first call, such as imports.

        Called before a call waits for its turn, so that it begins at once
        when it has it. What fails here is reported by the call.
        """

    async def acomplete(self, request: CompletionRequest) -> Completion:
        """Return the whole answer without blocking the event loop."""
        return await in_daemon_thread(lambda: self.complete(request))

    async def astream(
        self, request: CompletionRequest
    ) -> AsyncIterator[StreamItem]:
        """Yield the answer as it comes without blocking the event loop."""
        async for item in _iterate_in_thread(lambda: self.stream(request)):
            yield item

    async def converse(self, request: CompletionRequest) -> Answer:
        """Return the whole answer, typed: text, calls of tools, thoughts.

        Plug-ins that do no more than `complete` and `stream` answer with
        text only.

        Raises:
            ConfigurationError: names what of the conversation the plug-in
                or the model cannot do.
            LLMError: another one of the family in `llm_sdks.errors`.
        """
        _check_plain(request)
        try:
            done = await self.acomplete(request)
        except PartialAnswerError as error:
            parts = (TextOut(error.partial_text),)
            return Answer(
                parts if error.partial_text else (),
                error.usage,
                _finish_of(error),
                request_id=error.request_id,
            )
        return Answer(
            (TextOut(done.text),), done.usage, request_id=done.request_id
        )

    async def converse_stream(
        self, request: CompletionRequest
    ) -> AsyncIterator[Event]:
        """Yield the events of the answer as they come.

        Raises:
            LLMError: as `converse`, at the first event or later.
        """
        _check_plain(request)
        yield Begun()
        finish: Finish = "stop"
        try:
            async for item in self.astream(request):
                if isinstance(item, str):
                    yield TextDelta(item)
                else:
                    yield UsageSeen(item)
        except PartialAnswerError as error:
            yield UsageSeen(error.usage)
            finish = _finish_of(error)
        yield Ended(finish)

    async def embed(self, request: EmbeddingRequest) -> Embeddings:  # noqa: ARG002 - for those who can
        """Return a vector for each text.

        Raises:
            ConfigurationError: the provider, or its plug-in, cannot.
            LLMError: another one of the family in `llm_sdks.errors`.
        """
        error = ConfigurationError(
            f"The provider {self.get_name()!r} does not support embeddings"
        )
        error.param = "model"
        raise error

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to close
        """Close connections and other resources of the instance."""


def _check_plain(request: CompletionRequest) -> None:
    asked = request.conversation
    lacking = {
        "tools": asked.has_tools,
        "images": asked.has_images,
        "logprobs": asked.sampling.logprobs is not None,
    }
    for name, is_asked in lacking.items():
        if is_asked:
            error = ConfigurationError(
                f"The provider's plug-in answers with text only: no {name}"
            )
            error.param = name
            raise error


def _finish_of(error: PartialAnswerError) -> Finish:
    if isinstance(error, TruncatedError):
        return "length"
    if isinstance(error, ContentFilteredError):
        return "content_filter"
    raise error


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """Run a blocking call on a thread of its own.

    Not on an executor: a plug-in that hangs for ever must neither take a
    pool's slot nor keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(settle: Callable[[], None]) -> None:
        if not future.done():
            settle()

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            problem = _storable(error)
            _call(loop, deliver, lambda: future.set_exception(problem))
        else:
            _call(loop, deliver, lambda: future.set_result(result))

    threading.Thread(target=run, name="llm-call", daemon=True).start()
    return await future


def _call(
    loop: asyncio.AbstractEventLoop,
    deliver: Callable[[Callable[[], None]], None],
    settle: Callable[[], None],
) -> None:
    try:
        loop.call_soon_threadsafe(deliver, settle)
    except RuntimeError:
        # The worker has stopped and closed its loop: no task waits.
        return


def _storable(error: BaseException) -> BaseException:
    # A future cannot carry StopIteration; a plug-in may raise anything.
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


_END = object()


async def _iterate_in_thread(
    make: Callable[[], Iterator[T]],
) -> AsyncIterator[T]:
    # Pulled item by item: a slow reader slows the provider's call.
    iterator: Iterator[T] | None = None

    def next_item() -> T | object:
        nonlocal iterator
        if iterator is None:
            iterator = iter(make())
        return next(iterator, _END)

    while (item := await in_daemon_thread(next_item)) is not _END:
        yield item  # type: ignore[misc]  # the sentinel has just been ruled out
