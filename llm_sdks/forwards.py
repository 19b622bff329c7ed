"""How plug-ins send requests of others as they are."""

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from llm_sdks.base_sdk import BaseLLMSDK, CompletionRequest, LLMConfig
from llm_sdks.formats import failures
from llm_sdks.formats.allowances import tell
from llm_sdks.formats.metering import Reads
from llm_sdks.forwarding import ForwardRequest, Interface
from llm_sdks.profiles.learnt import LearntProfiles
from llm_sdks.profiles.profile import Profile
from llm_sdks.wires.pacing import in_time
from llm_sdks.wires.wire import Call, Json, Reply, Stream, Wire


class Forwards(BaseLLMSDK, Reads):
    """A plug-in that can send requests in its provider's own format."""

    # The provider's own interfaces that requests of others may use, and
    # their paths under its base URL.
    interfaces: ClassVar[Mapping[Interface, str]] = {}
    profile: ClassVar[Profile]
    _learnt: LearntProfiles

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
