"""How plug-ins send requests of others as they are."""

import asyncio
import importlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from llm_sdks.base_sdk import (
    BaseLLMSDK,
    CompletionRequest,
    LLMConfig,
    in_daemon_thread,
)
from llm_sdks.formats import failures
from llm_sdks.formats.allowances import tell
from llm_sdks.formats.metering import Reads
from llm_sdks.forwarding import ForwardRequest, Interface
from llm_sdks.passing import Destination, Origin, Passed, PassRequest
from llm_sdks.profiles.learnt import LearntProfiles
from llm_sdks.profiles.profile import Profile
from llm_sdks.wires.environment import base_url
from llm_sdks.wires.pacing import in_time
from llm_sdks.wires.wire import Call, Json, Reply, Stream, Wire

if TYPE_CHECKING:
    from llm_sdks.wires.passing import PassingWire


class Forwards(BaseLLMSDK, Reads):
    """A plug-in that can send requests in its provider's own format."""

    # The provider's own interfaces that requests of others may use, and
    # their paths under its base URL.
    interfaces: ClassVar[Mapping[Interface, str]] = {}
    # Where requests of any kind go, if the plug-in can send them.
    origin: ClassVar[Origin | None] = None
    profile: ClassVar[Profile]
    _learnt: LearntProfiles
    _passing: "PassingWire | None" = None

    @abstractmethod
    async def _wire(self, request: CompletionRequest) -> Wire:
        """Return what sends calls with the request's settings."""

    @abstractmethod
    def _call(self, request: CompletionRequest, body: Json) -> Call:
        """Give a call with the request's settings."""

    async def forward(self, request: ForwardRequest) -> Reply:
        """Send a request as it is; return the answer of status 2xx.

        Raises:
            LLMError: there is none; `content` is what came instead.
        """
        try:
            async with asyncio.timeout(request.base.timeout):
                wire = await self._wire(request.base)
                reply = await wire.ask(self._forwarded(request))
        except TimeoutError:
            raise failures.timed_out() from None
        tell(reply.headers)
        return reply

    async def forward_stream(self, request: ForwardRequest) -> Stream:
        """Send a request as it is; return the stream that has begun.

        Raises:
            LLMError: it has not; `content` is what came instead.
        """
        base = request.base
        until = asyncio.get_running_loop().time() + base.timeout
        try:
            async with asyncio.timeout_at(until):
                wire = await self._wire(base)
                stream = await wire.open(self._forwarded(request))
        except TimeoutError:
            raise failures.timed_out() from None
        tell(stream.headers)
        return replace(stream, chunks=in_time(stream.chunks, until, base))

    @classmethod
    def base_url(cls, endpoint: str) -> str:
        """Give the URL under which the provider of an endpoint is.

        Empty if the plug-in sends no requests but its own.
        """
        return base_url(endpoint, cls.origin) if cls.origin else ""

    async def pass_through(self, request: PassRequest) -> Passed:
        """Send a request of any kind; return the answer that has begun.

        Raises:
            LLMError: there is no answer, of whatever status.
        """
        base = request.base
        until = asyncio.get_running_loop().time() + base.timeout
        try:
            async with asyncio.timeout_at(until):
                wire = await self._passing_wire()
                passed = await wire.send(
                    self._destination(base.config), request, until
                )
        except TimeoutError:
            raise failures.timed_out() from None
        tell(dict(passed.headers))
        return passed

    async def _passing_wire(self) -> "PassingWire":
        if self._passing is not None:
            return self._passing
        # In a thread: an import of seconds must not block the event loop.
        module = await in_daemon_thread(
            lambda: importlib.import_module("llm_sdks.wires.passing")
        )
        if self._passing is None:
            self._passing = module.PassingWire()
        return self._passing

    def _destination(self, config: LLMConfig) -> Destination:
        origin = self.origin
        assert origin is not None  # noqa: S101 - by `base_url`
        key = config.api_key.get_secret_value()
        credential = (origin.header, f"{origin.prefix}{key}")
        if config.is_bearer:
            credential = ("authorization", f"Bearer {key}")
        return Destination(self.base_url(config.endpoint), (credential,), key)

    def has_stream_usage(self, config: LLMConfig) -> bool:
        """Tell whether a stream's usage can be asked for."""
        profile = self._learnt.whole(config, self.profile)
        return bool(profile.supports_stream_usage)

    def lacks_stream_usage(self, config: LLMConfig) -> None:
        """Learn that a model's streams cannot be asked for their usage."""
        self._learnt.learn(config, Profile(supports_stream_usage=False))

    def _forwarded(self, request: ForwardRequest) -> Call:
        body: Json = {"model": request.base.config.provider_model}
        call = self._call(request.base, body)
        return replace(
            call,
            headers={**call.headers, **request.headers},
            content=request.body,
            path=self.interfaces[request.interface],
        )
