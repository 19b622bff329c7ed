"""Azure's library for model inference.

Its public `send_request` goes through the library's whole pipeline
(credential, proxy, tracing) and leaves the JSON to us.
"""

import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from azure.ai.inference.aio import ChatCompletionsClient
from azure.core.credentials import AccessToken, AzureKeyCredential
from azure.core.exceptions import (
    AzureError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from pydantic_core import to_json

from llm_sdks import errors
from llm_sdks.base_sdk import LLMConfig
from llm_sdks.formats import failures
from llm_sdks.formats.decoding import is_json
from llm_sdks.wires.direct import (
    handed_on,
    is_success,
    is_undecodable,
    session_with,
)
from llm_sdks.wires.wire import (
    MAX_ANSWER_BYTES,
    MAX_CONNECTIONS,
    Call,
    Kind,
    Reply,
    Stream,
    Wire,
)

_PATHS: Mapping[Kind, str] = {
    "answer": "/chat/completions",
    "embeddings": "/embeddings",
}
_DEFAULT_VERSION = "2024-05-01-preview"


class AzureInferenceWire(Wire):
    """One client of the library."""

    def __init__(
        self, client: ChatCompletionsClient, config: LLMConfig
    ) -> None:
        self._client = client
        self._key = config.api_key.get_secret_value()
        self._version = config.api_version or _DEFAULT_VERSION

    async def ask(self, call: Call) -> Reply:
        """Return the provider's answer of status 2xx."""
        with self._translated():
            async with await self._send(call) as response:
                await self._check(response, call)
                content = await _content_of(response)
        return Reply(content, response.headers, response.status_code)

    async def open(self, call: Call) -> Stream:
        """Return the provider's stream once it has begun."""
        with self._translated():
            response = await self._send(call)
            try:
                await self._check(response, call)
            except BaseException:
                await response.close()
                raise
        return Stream(self._chunks(response), response.headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _send(self, call: Call) -> AsyncHttpResponse:
        request = HttpRequest(
            "POST",
            call.path or _PATHS[call.kind],
            params={"api-version": self._version},
            headers={"Content-Type": "application/json", **call.headers},
            content=call.content or to_json(call.body),
        )
        # As a stream even where none is wanted: the pipeline would else
        # read the body, and hide the status of one that is no JSON.
        return await self._client.send_request(
            request,
            stream=True,
            connection_timeout=call.connect_timeout,
            read_timeout=call.read_timeout,
        )

    async def _check(self, response: AsyncHttpResponse, call: Call) -> None:
        if is_success(response.status_code):
            return
        content = await _content_of(response)
        error = failures.of_answer(
            response.status_code,
            response.headers,
            content,
            self._key,
            urlsplit(response.request.url).path,
            is_quoting=call.content is not None,
        )
        if call.content is not None:
            handed_on(error, content, self._key)
        raise error

    async def _chunks(
        self, response: AsyncHttpResponse
    ) -> AsyncGenerator[bytes]:
        with self._translated():
            async with response:
                async for chunk in response.iter_raw():
                    yield chunk

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (AzureError, aiohttp.ClientError, OSError, ValueError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> errors.LLMError:
        match error:
            case ServiceRequestError():
                return failures.unreachable(error, self._key)
            case (
                ServiceResponseTimeoutError()
                | aiohttp.SocketTimeoutError()
                | TimeoutError()
            ):
                return failures.timed_out()
            case _ if isinstance(error.__cause__, aiohttp.ClientResponseError):
                return failures.not_http(error, self._key)
            case _ if is_undecodable(error):
                return failures.not_http(error, self._key)
            case _:
                return failures.unreachable(error, self._key)


async def _content_of(response: AsyncHttpResponse) -> bytes:
    """Read a whole answer, as far as it is one."""
    chunks: list[bytes] = []
    size = 0
    try:
        # Raw for the library: the session has decompressed it already.
        async for chunk in response.iter_raw():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                break
    except IncompleteReadError:
        # Some servers promise more bytes than they have.
        if not is_json(b"".join(chunks)):
            raise
    return b"".join(chunks)


class _HeldToken:
    """A token that is there already, as the library takes one."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get_token(self, *_: str, **__: object) -> AccessToken:
        # The client is made anew with the next token.
        return AccessToken(self._token, int(time.time()) + 86_400)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def _credential(config: LLMConfig) -> Any:  # noqa: ANN401 - either of the library's kinds
    key = config.api_key.get_secret_value()
    return _HeldToken(key) if config.is_bearer else AzureKeyCredential(key)


def connect(config: LLMConfig, _connect_timeout: float) -> Wire:
    """Make a client; its own retries are off, for ours are durable."""
    session = session_with(
        aiohttp.TCPConnector(limit=MAX_CONNECTIONS), trust_env=True
    )
    client = ChatCompletionsClient(
        config.endpoint,
        _credential(config),
        transport=AioHttpTransport(session=session),
        retry_total=0,
        permit_redirects=False,
    )
    return AzureInferenceWire(client, config)
