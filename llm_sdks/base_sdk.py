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
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from pydantic import SecretStr

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
from llm_sdks.conversation import Conversation, ResponseFormat
from llm_sdks.errors import (
    ConfigurationError,
    ContentFilteredError,
    PartialAnswerError,
    TruncatedError,
)
from llm_sdks.profiles.profile import Profile
from llm_sdks.usage import Usage

__all__ = [
    "BaseLLMSDK",
    "Completion",
    "CompletionRequest",
    "LLMConfig",
    "StreamItem",
    "Usage",
    "in_daemon_thread",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LLMConfig:
    """How to reach one model. The key does not show in its `repr`.

    `profile` is what its owner says that it supports. `model_id` and
    `revision` name the model's document and its state, empty where there is
    none; they are no settings.
    """

    name: str
    endpoint: str = ""
    api_type: str = ""
    api_version: str = ""
    deployment: str = ""
    service: str | None = None
    api_key: SecretStr = field(default_factory=lambda: SecretStr(""))
    max_token: int | None = None
    max_completion_token: int | None = None
    min_temperature: float = 0.0
    max_temperature: float = 2.0
    profile: Profile | None = None
    model_id: str = field(default="", compare=False)
    revision: str = field(default="", compare=False)

    @property
    def provider_model(self) -> str:
        """What the provider calls this model."""
        return self.deployment or self.name

    def clamp(self, temperature: float) -> float:
        """Bring a temperature into the model's range."""
        return min(
            max(temperature, self.min_temperature), self.max_temperature
        )


@dataclass(frozen=True, slots=True, init=False)
class CompletionRequest:
    """One call: a model, a conversation and how long it may take.

    All times are in seconds: `timeout` is for the whole call,
    `connect_timeout` until there is a connection, `read_timeout` between
    two pieces of the answer. Two calls with the same `idempotency_key` are
    one to providers that know such keys.

    Most calls are a system text, one user message and a temperature. Such a
    call is made with `system`, `user`, `temperature` and `response_schema`
    (a JSON Schema of the answer) in place of a `conversation`, and a plug-in
    that knows no more than that reads the properties of these names. With
    both, they change the conversation.
    """

    config: LLMConfig
    conversation: Conversation
    timeout: float
    connect_timeout: float
    read_timeout: float
    idempotency_key: str | None

    def __init__(  # noqa: PLR0917 - the order that plug-ins rely on
        self,
        config: LLMConfig,
        system: str | None = None,
        user: str | None = None,
        temperature: float | None = None,
        timeout: float = 900.0,
        connect_timeout: float = 5.0,
        read_timeout: float = 600.0,
        response_schema: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        *,
        conversation: Conversation | None = None,
    ) -> None:
        if conversation is None:
            conversation = Conversation.simple(
                system or "", user or "", temperature, response_schema
            )
        else:
            conversation = _changed(
                conversation, system, user, temperature, response_schema
            )
        put = object.__setattr__
        put(self, "config", config)
        put(self, "conversation", conversation)
        put(self, "timeout", timeout)
        put(self, "connect_timeout", connect_timeout)
        put(self, "read_timeout", read_timeout)
        put(self, "idempotency_key", idempotency_key)

    @property
    def system(self) -> str:
        """The system text; empty if there is none."""
        return self.conversation.system

    @property
    def user(self) -> str:
        """The text of the one user message.

        Raises:
            ConfigurationError: the conversation is more than that, which a
                plug-in that asks for this text cannot send.
        """
        if not self.conversation.is_simple:
            raise ConfigurationError(
                "The provider's plug-in takes a system text and one user "
                "message only: no further messages, images or tools"
            )
        return self.conversation.turns[0].text

    @property
    def temperature(self) -> float:
        """The wanted temperature; 1, the providers' own, if none is."""
        wanted = self.conversation.sampling.temperature
        return 1.0 if wanted is None else wanted

    @property
    def response_schema(self) -> Mapping[str, Any] | None:
        """The JSON Schema that the answer should follow, if any."""
        return self.conversation.response_format.schema


def _changed(
    conversation: Conversation,
    system: str | None,
    user: str | None,
    temperature: float | None,
    response_schema: Mapping[str, Any] | None,
) -> Conversation:
    if system is not None:
        conversation = conversation.with_system(system)
    if user is not None:
        conversation = conversation.with_user(user)
    if temperature is not None:
        sampling = replace(conversation.sampling, temperature=temperature)
        conversation = replace(conversation, sampling=sampling)
    if response_schema is not None:
        form = ResponseFormat.of(response_schema)
        conversation = replace(conversation, response_format=form)
    return conversation


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer."""

    text: str
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    request_id: str | None = None


# A stream yields pieces of text, and usage as soon as the provider tells it,
# so that a caller that stops early has it. A later `Usage` replaces an
# earlier one. If there is usage at all, the last item is one.
StreamItem = str | Usage


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
            raise ConfigurationError(
                f"The provider's plug-in answers with text only: no {name}"
            )


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
