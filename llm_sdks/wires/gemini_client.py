"""Google's library builds a request; we send it.

The library would lose headers, the status of an answer that is not JSON,
and whatever its types do not know.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import NoReturn

import aiohttp
from google import genai
from google.genai import types
from pydantic import ValidationError

from llm_sdks import errors
from llm_sdks.base_sdk import LLMConfig
from llm_sdks.formats import failures
from llm_sdks.formats.wording import scrub
from llm_sdks.wires.direct import (
    Direct,
    Template,
    is_success,
    is_undecodable,
    kept_headers,
    refusal,
)
from llm_sdks.wires.wire import Call, Kind, Reply, Stream, Wire

_KEY_HEADER = "x-goog-api-key"


class GeminiWire(Wire):
    """One client of the library, and the connections that send for it."""

    def __init__(
        self,
        client: genai.Client,
        session: aiohttp.ClientSession,
        key: str,
        *,
        is_bearer: bool,
    ) -> None:
        self._client = client
        self._session = session
        self._direct = Direct(trust_env=True)
        self._key = key
        self._is_bearer = is_bearer

    async def ask(self, call: Call) -> Reply:
        """Return the provider's answer of status 2xx."""
        with self._translated():
            template = await self._request_of(call, stream=False)
            reply = await self._direct.post(template, call)
        if is_success(reply.status):
            return reply
        raise refusal(reply, template, call, self._key)

    async def open(self, call: Call) -> Stream:
        """Return the provider's stream once it has begun."""
        with self._translated():
            template = await self._request_of(call, stream=True)
            answer = await self._direct.open(template, call)
        if isinstance(answer, Stream):
            return Stream(self._chunks(answer.chunks), answer.headers)
        raise refusal(answer, template, call, self._key)

    async def close(self) -> None:
        """Close the connections."""
        await self._direct.close()
        await self._client.aio.aclose()
        self._client.close()
        await self._session.close()

    async def _request_of(self, call: Call, *, stream: bool) -> Template:
        """Ask the library what it would send; nothing is sent."""
        models = self._client.aio.models
        asked = {
            "model": call.model,
            "contents": call.body["contents"],
            "config": _CONFIGS[call.kind](call),
        }
        try:
            if call.kind == "embeddings":
                await models.embed_content(**asked)
            elif stream:
                # The library does nothing before the first is asked for.
                await anext(await models.generate_content_stream(**asked))
            else:
                await models.generate_content(**asked)
        except _RequestSeen as seen:
            return self._with_token(seen.template)
        raise errors.ProviderError("Google's library made no request")

    def _with_token(self, template: Template) -> Template:
        if not self._is_bearer:
            return template
        # As Vertex AI wants it; the library would name its own addresses.
        headers = {
            name: value
            for name, value in template.headers.items()
            if name.lower() != _KEY_HEADER
        }
        headers["authorization"] = f"Bearer {self._key}"
        return Template(template.url, headers, template.content)

    async def _chunks(
        self, chunks: AsyncGenerator[bytes]
    ) -> AsyncGenerator[bytes]:
        with self._translated():
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ValidationError as error:
            # The library's own check of a request.
            text = scrub(str(error), self._key)
            raise errors.BadRequestError(text) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> errors.LLMError:
        match error:
            case aiohttp.ConnectionTimeoutError():
                return failures.unreachable(error, self._key)
            case TimeoutError():
                return failures.timed_out()
            case aiohttp.ClientResponseError():
                return failures.not_http(error, self._key)
            case _ if is_undecodable(error):
                return failures.not_http(error, self._key)
            case _:
                return failures.unreachable(error, self._key)


class _RequestSeen(Exception):  # noqa: N818 - not an error
    """Takes a request out of the library before it is sent."""

    def __init__(self, template: Template) -> None:
        super().__init__()
        self.template = template


async def _take_out(
    request: aiohttp.ClientRequest, _send: aiohttp.ClientHandlerType
) -> NoReturn:
    content = b""
    if isinstance(request.body, aiohttp.Payload):
        content = await request.body.as_bytes()
    headers = kept_headers(request.headers)
    raise _RequestSeen(Template(request.url, headers, content))


def connect(config: LLMConfig, _connect_timeout: float) -> Wire:
    """Make a client; its own retries are off, for ours are durable."""
    key = config.api_key.get_secret_value()
    session = aiohttp.ClientSession(middlewares=(_take_out,))
    options = types.HttpOptions(
        base_url=config.endpoint or None,
        api_version=config.api_version or None,
        aiohttp_client=session,
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    client = genai.Client(api_key=key, vertexai=False, http_options=options)
    return GeminiWire(client, session, key, is_bearer=config.is_bearer)


def _config(call: Call) -> types.GenerateContentConfig:
    options = types.HttpOptions(
        timeout=int(call.timeout * 1000), headers=dict(call.headers)
    )
    return types.GenerateContentConfig(
        **call.body["config"],
        http_options=options,
        # No further calls, which would not be counted.
        automatic_continuation=False,
        automatic_function_calling=(
            types.AutomaticFunctionCallingConfig(disable=True)
        ),
    )


def _embedding_config(call: Call) -> types.EmbedContentConfig:
    options = types.HttpOptions(
        timeout=int(call.timeout * 1000), headers=dict(call.headers)
    )
    return types.EmbedContentConfig(
        **call.body["config"], http_options=options
    )


_CONFIGS: Mapping[Kind, Callable[[Call], object]] = {
    "answer": _config,
    "embeddings": _embedding_config,
}
