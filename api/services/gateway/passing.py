"""Carries a request of any kind to a provider: bytes in, bytes out."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus

from pydantic_core import to_json

from api.core.dialects import Problem
from api.models.model_models import ModelWithKey
from api.services.calls.failures import failures_of
from api.services.calls.model_call import CallProgress, SlowReaderError
from api.services.gateway.asked import Json, wants_usage, with_usage
from api.services.gateway.cleaning import shown_headers
from api.services.gateway.filters import without_fields
from api.services.gateway.forwarding import until_ended
from api.services.gateway.live_answer import Head, LiveAnswer
from api.services.gateway.problems import problem_of
from api.services.gateway.proxied import Proxied, is_json
from llm_sdks import errors
from llm_sdks.base_sdk import BaseLLMSDK, Completion, CompletionRequest, Usage
from llm_sdks.formats import failures
from llm_sdks.formats.metering import AnswerMeter
from llm_sdks.formats.passed import (
    WholeReader,
    answer_meter,
    interface_of,
    is_known,
)
from llm_sdks.forwarding import Interface
from llm_sdks.passing import Passed, PassRequest, first_bytes, path_under
from llm_sdks.provider_sdk import ProviderSDK

_EVENTS = "text/event-stream"
_JSON = "application/json"
_USAGE_OPTION = b"stream_options"
# What a provider says of the model's own key and account.
_OURS = frozenset({401, 402, 407})
# No provider explains a refusal at greater length.
_MOST_REFUSAL_BYTES = 1024 * 1024
_REFUSED = 400
# What would have a model suspended, or paused, for all of its clients. Here
# the client's own words may be the reason: headers, paths and other models.
_OF_ALL = (
    errors.AccountExhaustedError,
    errors.ModelNotFoundError,
    errors.NotAuthorizedError,
)
_OF_THE_PATH = (
    errors.OverloadedError,
    errors.ProviderError,
    errors.RateLimitedError,
)


@dataclass(slots=True)
class Passing:
    """One request of any kind on its way, and its answer back."""

    asked: Proxied
    live: LiveAnswer
    model: ModelWithKey
    # Whether the client has been told of the error.
    has_told: bool = False
    _is_stream_of_events: bool = False

    async def __call__(
        self,
        sdk: BaseLLMSDK,
        request: CompletionRequest,
        progress: CallProgress,
    ) -> Completion:
        """Make the call; see `ModelCaller.run`."""
        assert isinstance(sdk, ProviderSDK)  # noqa: S101 - by `check_passable`
        async with failures_of(sdk, request, progress):
            passed, hides_usage = await self._opened(sdk, request)
            if passed.status >= _REFUSED:
                await self._refused(passed, request)
            progress.is_unpriced = True
            meter = self._meter(
                sdk, request, progress, hides_usage=hides_usage
            )
            await self._carry(passed, meter, request, progress)
        return Completion(progress.text, progress.usage or Usage())

    def error_event(self, problem: Problem) -> bytes:
        """Give the error that ends the answer, which has begun.

        Where there is no such thing the connection has to end.
        """
        if self._is_stream_of_events:
            return self.asked.dialect.event(problem, self.asked.request_id)
        self.live.is_broken = True
        return b""

    async def _opened(
        self, sdk: ProviderSDK, request: CompletionRequest
    ) -> tuple[Passed, bool]:
        """Send it; tell whether a stream's usage was asked for by us."""
        body = self._body()
        if body is None or not self._hides_usage(sdk, request, body):
            return await self._sent(sdk, request, body), False
        passed = await self._sent(sdk, request, with_usage(body))
        if passed.status != HTTPStatus.BAD_REQUEST:
            return passed, True
        content = await first_bytes(passed.chunks, _MOST_REFUSAL_BYTES)
        if _USAGE_OPTION not in content:
            return replace(passed, chunks=_again(content)), True
        sdk.lacks_stream_usage(request.config)
        return await self._sent(sdk, request, body), False

    def _body(self) -> Json | None:
        body, filters = self.asked.body, self.model.filters
        if body is None or filters is None:
            return body
        return without_fields(body, filters.remove_fields)

    def _hides_usage(
        self, sdk: ProviderSDK, request: CompletionRequest, body: Json
    ) -> bool:
        interface = interface_of(self.asked.plain_path, sdk.interfaces)
        return (
            interface is Interface.CHAT
            and self.asked.method == "POST"
            and body.get("stream") is True
            and not wants_usage(body)
            and sdk.has_stream_usage(request.config)
        )

    async def _sent(
        self, sdk: ProviderSDK, request: CompletionRequest, body: Json | None
    ) -> Passed:
        asked, content = self.asked, self.asked.raw
        if body is not None:
            content = asked.for_model(self.model, body)
        upload = asked.upload
        if upload is not None:
            # What has been read from the client cannot be sent again.
            self.live.progress.has_begun = True
        return await sdk.pass_through(
            PassRequest(
                request,
                asked.method,
                path_under(sdk.base_url(request.config.endpoint), asked.path),
                asked.query,
                self._headers(content),
                upload.chunks(self.live.end_call) if upload else content,
            )
        )

    def _headers(self, content: bytes | None) -> list[tuple[str, str]]:
        """Give the request's headers, with the length that it has now."""
        asked, filters = self.asked, self.model.filters
        removed = set(filters.remove_headers) if filters else set()
        if asked.upload is None:
            removed.add("content-length")
        headers = [each for each in asked.headers if each[0] not in removed]
        if content is not None:
            headers.append(("content-length", str(len(content))))
        return headers

    async def _refused(
        self, passed: Passed, request: CompletionRequest
    ) -> None:
        """Hand on the provider's refusal; raise it."""
        key = request.config.api_key.get_secret_value()
        content = await first_bytes(passed.chunks, _MOST_REFUSAL_BYTES)
        error = failures.of_answer(
            passed.status,
            dict(passed.headers),
            content,
            key,
            self.asked.path,
            is_quoting=True,
        )
        harmless = _harmless(
            error, is_of_model=is_known(self.asked.plain_path)
        )
        content = content.replace(key.encode(), b"***") if key else content
        if self._may_repeat(harmless):
            harmless.content = content
            raise harmless
        await self._tell(passed, error, content, key)
        raise harmless

    def _may_repeat(self, error: errors.LLMError) -> bool:
        """Tell whether it may be sent again: later, or with another key."""
        is_limit = isinstance(error, errors.RateLimitedError)
        may_repeat = self.asked.max_wait > 0 or bool(self.model.keys)
        return is_limit and may_repeat and self.asked.upload is None

    async def _tell(
        self, passed: Passed, error: errors.LLMError, content: bytes, key: str
    ) -> None:
        self.has_told = True
        dialect, shown = self.asked.dialect, self.asked.request_id
        is_ours = passed.status in _OURS or isinstance(
            error, errors.AccountExhaustedError
        )
        if not is_ours:
            headers = shown_headers(passed.headers, key)
            head = Head(passed.status, headers, len(content))
            await self.live.whole(head, content)
            return
        problem = problem_of(error)
        content = to_json(dialect.body(problem, shown))
        headers = {"content-type": _JSON, dialect.request_id_header: shown}
        headers |= problem.headers()
        head = Head(dialect.status(problem), headers, len(content))
        await self.live.whole(head, content)

    def _meter(
        self,
        sdk: ProviderSDK,
        request: CompletionRequest,
        progress: CallProgress,
        *,
        hides_usage: bool,
    ) -> AnswerMeter | None:
        if self.asked.method != "POST":
            # What was answered before has its usage in it, too.
            return None
        return answer_meter(
            self.asked.plain_path,
            sdk.interfaces,
            sdk,
            progress.texts,
            request.config.api_key.get_secret_value(),
            hides_usage=hides_usage,
        )

    async def _carry(
        self,
        passed: Passed,
        meter: AnswerMeter | None,
        request: CompletionRequest,
        progress: CallProgress,
    ) -> None:
        key = request.config.api_key.get_secret_value()
        headers = shown_headers(passed.headers, key)
        kind = headers.get("content-type", "").lower()
        if "content-encoding" in headers:
            meter = None
        self._is_stream_of_events = kind.startswith(_EVENTS)
        reading = _reading(meter, kind)
        if self._is_stream_of_events:
            headers.pop("content-length", None)
        started = time.perf_counter()
        self.live.begin(Head(passed.status, headers))
        async with aclosing(until_ended(passed.chunks, meter)) as chunks:
            async for chunk in chunks:
                await self._put(reading.feed(chunk))
                self._note(meter, progress, started)
        await self._put(reading.close())
        self._note(meter, progress, started)
        if meter is not None and meter.error is not None:
            # Its words went to the client as they came.
            self.has_told = True
            raise meter.error

    async def _put(self, content: bytes) -> None:
        try:
            await self.live.put(content)
        except SlowReaderError:
            # What it reads later must not look whole.
            self.live.is_broken = True
            raise

    def _note(
        self, meter: AnswerMeter | None, progress: CallProgress, started: float
    ) -> None:
        if meter is None:
            return
        progress.usage = meter.usage
        is_ours = self.asked.is_of(self.model)
        progress.is_unpriced = progress.usage is None or not is_ours
        if meter.has_begun:
            progress.note_first(time.perf_counter() - started)


@dataclass(slots=True)
class _Reading:
    """Takes what comes, and gives what goes back to the client."""

    feed: Callable[[bytes], bytes]
    close: Callable[[], bytes]


def _reading(meter: AnswerMeter | None, kind: str) -> _Reading:
    """Choose how an answer is read by its media type."""
    if meter is not None and kind.startswith(_EVENTS):
        return _Reading(meter.feed, meter.close)
    if meter is None or not is_json(kind):
        return _Reading(lambda chunk: chunk, lambda: b"")
    whole = WholeReader(meter)

    def feed(chunk: bytes) -> bytes:
        whole.feed(chunk)
        return chunk

    def close() -> bytes:
        whole.close()
        return b""

    return _Reading(feed, close)


def _harmless(error: errors.LLMError, *, is_of_model: bool) -> errors.LLMError:
    """Give the error as far as it may concern other clients."""
    may_matter = is_of_model or not isinstance(error, _OF_THE_PATH)
    if may_matter and not isinstance(error, _OF_ALL):
        return error
    return errors.BadRequestError(
        str(error), http_status=error.http_status, request_id=error.request_id
    )


async def _again(content: bytes) -> AsyncGenerator[bytes]:
    yield content
