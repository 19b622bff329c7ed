"""Carries a request in its provider's own format: bytes in, bytes out."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from api.core.dialects import Problem
from api.services.calls.failures import failures_of
from api.services.calls.model_call import CallProgress
from api.services.gateway.asked import Asked
from api.services.gateway.live_answer import AnswerSink, Head
from llm_sdks.base_sdk import BaseLLMSDK, Completion, CompletionRequest, Usage
from llm_sdks.errors import (
    BadRequestError,
    CannotConnectError,
    ContentFilteredError,
    LLMError,
)
from llm_sdks.formats import failures
from llm_sdks.formats.metering import AnswerMeter
from llm_sdks.forwarding import ForwardRequest, Interface
from llm_sdks.provider_sdk import ProviderSDK
from llm_sdks.wires.wire import Reply, Stream

# Of a provider's headers, those that say something of this answer. Others
# tell of the account.
_HEADERS = frozenset(
    {
        "content-type",
        "openai-model",
        "openai-processing-ms",
        "openai-version",
        "request-id",
        "x-request-id",
    }
)
# How the vendors say so in an answer.
FILTERED_ENDINGS = frozenset({"content_filter", "refusal"})
_USAGE_OPTION = "stream_options"


def withheld(text: str, usage: Usage | None) -> ContentFilteredError:
    """Give the error for an answer that its provider's filter withheld."""
    return ContentFilteredError(
        "The provider's filter withheld the answer",
        partial_text=text,
        usage=usage,
    )


def can_forward(sdk: BaseLLMSDK, interface: Interface) -> bool:
    """Tell whether a plug-in takes requests of an interface as they are."""
    return isinstance(sdk, ProviderSDK) and interface in sdk.interfaces


@dataclass(slots=True)
class Forwarding:
    """One request on its way through a plug-in, and its answer back."""

    asked: Asked
    live: AnswerSink
    # Whether the client has been told of the error that ended the stream.
    has_told: bool = False
    # Whether an answer that was withheld is not the client's, but a failure:
    # another model is asked then.
    leaves_filtered: bool = False

    async def __call__(
        self,
        sdk: BaseLLMSDK,
        request: CompletionRequest,
        progress: CallProgress,
    ) -> Completion:
        """Make the call; see `ModelCaller.run`."""
        assert isinstance(sdk, ProviderSDK)  # noqa: S101 - by `can_forward`
        async with failures_of(sdk, request, progress):
            if self.asked.is_stream:
                await self._stream(sdk, request, progress)
            else:
                await self._whole(sdk, request, progress)
        return Completion(progress.text, progress.usage or Usage())

    def error_event(self, problem: Problem) -> bytes:
        """Give the error that ends the stream, which has begun."""
        return self.asked.dialect.event(problem, self.asked.request_id)

    async def _whole(
        self,
        sdk: ProviderSDK,
        request: CompletionRequest,
        progress: CallProgress,
    ) -> None:
        reply = await sdk.forward(self._request(request))
        meter = self._meter(sdk, request, progress)
        content = _bytes_of(reply)
        meter.whole(content)
        progress.usage = meter.usage
        if self.leaves_filtered and meter.finish_reason in FILTERED_ENDINGS:
            raise withheld(progress.text, meter.usage)
        head = Head(reply.status, _shown(reply.headers), len(content))
        await self.live.whole(head, content)
        self._check(meter.error)

    async def _stream(
        self,
        sdk: ProviderSDK,
        request: CompletionRequest,
        progress: CallProgress,
    ) -> None:
        started = time.perf_counter()
        stream, hides_usage = await self._opened(sdk, request)
        meter = self._meter(sdk, request, progress, hides_usage=hides_usage)
        head = Head(200, _shown(stream.headers))
        async with aclosing(until_ended(stream.chunks, meter)) as chunks:
            async for chunk in chunks:
                events = meter.feed(chunk)
                _note(progress, meter, started)
                await self._send(head, events)
        await self._send(head, meter.close())
        _note(progress, meter, started)
        self._check(meter.error)
        if not meter.has_ended:
            raise failures.ended_early()

    async def _opened(
        self, sdk: ProviderSDK, request: CompletionRequest
    ) -> tuple[Stream, bool]:
        """Open the stream; tell whether its usage was asked for by us."""
        asked, config = self.asked, request.config
        with_usage = (
            asked.interface is Interface.CHAT
            and not asked.wants_usage()
            and sdk.has_stream_usage(config)
        )
        sent = self._request(request, with_usage=with_usage)
        try:
            return await sdk.forward_stream(sent), with_usage
        except BadRequestError as error:
            if not with_usage or _USAGE_OPTION not in str(error):
                raise
        sdk.lacks_stream_usage(config)
        return await sdk.forward_stream(self._request(request)), False

    async def _send(self, head: Head, events: bytes) -> None:
        # Until there is something to send, the call may fail as any other.
        if events:
            self.live.begin(head)
            await self.live.put(events)

    def _request(
        self, request: CompletionRequest, *, with_usage: bool = False
    ) -> ForwardRequest:
        model = request.config.provider_model
        return ForwardRequest(
            request,
            self.asked.interface,
            self.asked.sent(model, asks_usage=with_usage),
            self.asked.headers,
        )

    def _meter(
        self,
        sdk: ProviderSDK,
        request: CompletionRequest,
        progress: CallProgress,
        *,
        hides_usage: bool = False,
    ) -> AnswerMeter:
        return AnswerMeter(
            self.asked.interface,
            sdk,
            progress.texts,
            request.config.api_key.get_secret_value(),
            hides_usage=hides_usage,
        )

    def _check(self, error: LLMError | None) -> None:
        """Raise the error that the provider sent in place of an answer."""
        if error is not None:
            # Its words went to the client as they came.
            self.has_told = True
            raise error


def _note(progress: CallProgress, meter: AnswerMeter, started: float) -> None:
    progress.usage = meter.usage
    if meter.has_begun:
        progress.note_first(time.perf_counter() - started)


async def until_ended(
    chunks: AsyncGenerator[bytes], meter: AnswerMeter | None
) -> AsyncGenerator[bytes]:
    """Yield what comes; a connection may break once the answer has ended."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    except CannotConnectError:
        if meter is None or not meter.has_ended:
            raise


def _bytes_of(reply: Reply) -> bytes:
    content = reply.content
    return content.encode() if isinstance(content, str) else content


def _shown(headers: Mapping[str, str]) -> dict[str, str]:
    found = {name.lower(): value for name, value in headers.items()}
    return {name: found[name] for name in _HEADERS if name in found}
