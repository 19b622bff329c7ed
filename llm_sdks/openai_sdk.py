"""`OpenAI`: OpenAI itself and every endpoint that speaks its language.

Uses the vendor's library on its aiohttp transport, whose connections
stay usable at hundreds of calls at once, and the library's public `post`
with our own reading of the JSON, which takes half the processor time of
`chat.completions.create`.
"""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient, OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic_core import from_json

from llm_sdks import errors
from llm_sdks.base_sdk import (
    BaseLLMSDK,
    Completion,
    CompletionRequest,
    LLMConfig,
    StreamItem,
    Usage,
)
from utilities import payload

_PATH = "/chat/completions"
_CONNECT_SECONDS = 5.0
_MAX_CONNECTIONS = 1000
_LONGEST_WAIT_SECONDS = 86_400.0

# What the library lets through: its own errors, those of the connection
# under a stream, and what comes of a stream that is none.
_FAILURES = (
    openai.OpenAIError,
    httpx2.HTTPError,
    ValueError,
    TypeError,
    AttributeError,
)


class OpenAISDK(BaseLLMSDK):
    """Chat completions; the model's `endpoint` is the base URL.

    Without an endpoint it is OpenAI's own.
    """

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str], AsyncOpenAI] = {}

    @classmethod
    def get_name(cls) -> str:
        """Return `OpenAI`."""
        return "OpenAI"

    def validate_config(self, config: LLMConfig) -> None:
        """Check the key and the form of the endpoint."""
        key = config.api_key.get_secret_value()
        if not key:
            raise errors.ConfigurationError("The model has no API key")
        if not (key.isascii() and key.isprintable()):
            raise errors.ConfigurationError(
                "The model's API key holds characters that cannot be sent, "
                "such as a line end"
            )
        if config.endpoint and not config.endpoint.startswith(
            ("http://", "https://")
        ):
            raise errors.ConfigurationError(
                "endpoint must be an http(s) base URL, such as "
                "https://api.openai.com/v1, or empty for OpenAI's own"
            )

    def complete(self, request: CompletionRequest) -> Completion:
        """Return the whole answer; blocks."""
        with self._blocking_client(request.config) as client:
            try:
                response = client.post(
                    _PATH,
                    body=_body(request),
                    cast_to=httpx2.Response,
                    options={"timeout": _timeout(request)},
                )
            except _FAILURES as error:
                raise _translated(error, request.config) from error
        return _completion(response)

    async def acomplete(self, request: CompletionRequest) -> Completion:
        """Return the whole answer."""
        try:
            response = await self._client(request.config).post(
                _PATH,
                body=_body(request),
                cast_to=httpx2.Response,
                options={"timeout": _timeout(request)},
            )
        except _FAILURES as error:
            raise _translated(error, request.config) from error
        return _completion(response)

    def stream(self, request: CompletionRequest) -> Iterator[StreamItem]:
        """Yield the answer as it comes; blocks."""
        with self._blocking_client(request.config) as client:
            try:
                chunks = client.post(
                    _PATH,
                    body=_streaming_body(request),
                    cast_to=ChatCompletionChunk,
                    options={"timeout": _timeout(request)},
                    stream=True,
                    stream_cls=openai.Stream[ChatCompletionChunk],
                )
                for chunk in chunks:
                    yield from _items(chunk)
            except _FAILURES as error:
                raise _translated(error, request.config) from error

    async def astream(
        self, request: CompletionRequest
    ) -> AsyncIterator[StreamItem]:
        """Yield the answer as it comes."""
        try:
            chunks = await self._client(request.config).post(
                _PATH,
                body=_streaming_body(request),
                cast_to=ChatCompletionChunk,
                options={"timeout": _timeout(request)},
                stream=True,
                stream_cls=AsyncStream[ChatCompletionChunk],
            )
            async with chunks:
                async for chunk in chunks:
                    for item in _items(chunk):
                        yield item
        except _FAILURES as error:
            raise _translated(error, request.config) from error

    async def aclose(self) -> None:
        """Close every client."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.close()

    def _client(self, config: LLMConfig) -> AsyncOpenAI:
        # One per endpoint and credential: connections are reused.
        key = (config.endpoint, config.api_key.get_secret_value())
        if key not in self._clients:
            self._clients[key] = AsyncOpenAI(
                api_key=config.api_key.get_secret_value(),
                base_url=config.endpoint or None,
                max_retries=0,  # ours are durable
                http_client=DefaultAioHttpClient(
                    limits=httpx2.Limits(max_connections=_MAX_CONNECTIONS)
                ),
            )
        return self._clients[key]

    @staticmethod
    def _blocking_client(config: LLMConfig) -> OpenAI:
        return OpenAI(
            api_key=config.api_key.get_secret_value(),
            base_url=config.endpoint or None,
            max_retries=0,
        )


def _timeout(request: CompletionRequest) -> httpx2.Timeout:
    return httpx2.Timeout(request.timeout, connect=_CONNECT_SECONDS)


def _body(request: CompletionRequest) -> dict[str, Any]:
    config = request.config
    messages = [{"role": "user", "content": request.user}]
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    body: dict[str, Any] = {
        "model": config.provider_model,
        "messages": messages,
        "temperature": config.clamp(request.temperature),
    }
    if config.max_completion_token is not None:
        body["max_completion_tokens"] = config.max_completion_token
    elif config.max_token is not None:
        body["max_tokens"] = config.max_token
    return body


def _streaming_body(request: CompletionRequest) -> dict[str, Any]:
    return {
        **_body(request),
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _completion(response: httpx2.Response) -> Completion:
    try:
        body = from_json(response.content)
        choice = body["choices"][0]
        text = choice["message"].get("content") or ""
        usage = _usage(body.get("usage") or {})
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _not_a_completion(response) from None
    if not isinstance(text, str):
        raise _not_a_completion(response)
    return Completion(text, usage, choice.get("finish_reason"))


def _not_a_completion(response: httpx2.Response) -> errors.ProviderError:
    return errors.ProviderError(
        "The provider's answer is no chat completion",
        http_status=response.status_code,
    )


def _usage(usage: Mapping[str, Any]) -> Usage:
    counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not all(isinstance(count, int | None) for count in counts):
        raise TypeError("token counts must be whole numbers")
    return Usage(counts[0] or 0, counts[1] or 0)


def _items(chunk: ChatCompletionChunk) -> Iterator[StreamItem]:
    # The library does not check what a provider streams.
    for choice in chunk.choices:
        if choice.delta.content:
            yield choice.delta.content
    if chunk.usage is not None:
        yield Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)


def _translated(error: Exception, config: LLMConfig) -> errors.LLMError:
    refused = isinstance(error.__cause__, httpx2.ConnectTimeout)
    match error:
        # The aiohttp transport calls a refused connection a timeout.
        case openai.APITimeoutError() if not refused:
            return errors.CallTimeoutError("The provider did not answer")
        case openai.APIConnectionError() | httpx2.HTTPError():
            reason = _clean(str(error.__cause__ or error), config)
            return errors.CannotConnectError(
                f"Cannot connect to the provider: {reason}"
            )
        case openai.APIStatusError():
            return _by_status(error, config)
        case openai.OpenAIError():
            return errors.ProviderError(_clean(str(error), config))
        case _:
            return errors.ProviderError("The provider's answer is no stream")


def _by_status(
    error: openai.APIStatusError, config: LLMConfig
) -> errors.LLMError:
    status, request_id = error.status_code, error.request_id
    message = _clean(_message(error), config)
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        return errors.RateLimitedError(
            message,
            http_status=status,
            retry_after=_retry_after(error.response.headers),
            request_id=request_id,
        )
    return _class_of(status)(
        message, http_status=status, request_id=request_id
    )


def _clean(text: str, config: LLMConfig) -> str:
    """Take out the key, should the provider quote it."""
    key = config.api_key.get_secret_value()
    return payload.printable(text.replace(key, "[key]") if key else text)


def _class_of(status: int) -> type[errors.LLMError]:
    codes = httpx2.codes
    if status in (codes.UNAUTHORIZED, codes.FORBIDDEN):
        return errors.NotAuthorizedError
    if status == codes.REQUEST_TIMEOUT:
        return errors.CallTimeoutError
    if status == codes.SERVICE_UNAVAILABLE:
        return errors.OverloadedError
    if codes.is_server_error(status) or status == codes.CONFLICT:
        return errors.ProviderError
    return errors.BadRequestError


def _message(error: openai.APIStatusError) -> str:
    # The library's own text quotes the whole body, which for a refused key
    # contains parts of it.
    if error.status_code == httpx2.codes.UNAUTHORIZED:
        return "The provider does not accept the model's key"
    body = error.body
    if isinstance(body, Mapping) and isinstance(body.get("message"), str):
        return f"HTTP {error.status_code}: {body['message'][:1000]}"
    return f"HTTP {error.status_code}"


def _retry_after(headers: httpx2.Headers) -> float | None:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return _within_reason(float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        moment = parsedate_to_datetime(headers.get("retry-after", ""))
        return _within_reason(moment.timestamp() - time.time())
    except ValueError:
        return None


def _within_reason(seconds: float) -> float:
    return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)
