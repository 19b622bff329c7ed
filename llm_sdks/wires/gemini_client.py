"""Google's library, on a session of ours.

The session raises our errors before the library sees a failed answer: it
would lose headers, and the status if the body is no JSON. The library is
asked for whole HTTP answers, whose JSON is read here as every provider's
is; in streams it has objects only, which are turned back into JSON.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from google import genai
from google.genai import errors as google_errors
from google.genai import types

from llm_sdks import errors
from llm_sdks.base_sdk import LLMConfig
from llm_sdks.formats import failures
from llm_sdks.wires.wire import MAX_CONNECTIONS, Call, Reply, Stream, Wire

_END = object()
_OK = 200


class GeminiWire(Wire):
    """One client of the library."""

    def __init__(
        self, client: genai.Client, session: aiohttp.ClientSession, key: str
    ) -> None:
        self._client = client
        self._session = session
        self._key = key

    async def ask(self, call: Call) -> Reply:
        """Return the provider's answer of status 2xx."""
        with self._translated():
            answer = await self._client.aio.models.generate_content(
                model=call.model,
                contents=call.body["contents"],
                config=_config(call, should_return_http_response=True),
            )
        response = answer.sdk_http_response
        content = (response.body if response else None) or ""
        headers = (response.headers if response else None) or {}
        return Reply(content, headers)

    async def open(self, call: Call) -> Stream:
        """Return the provider's stream once it has begun."""
        with self._translated():
            events = await self._client.aio.models.generate_content_stream(
                model=call.model,
                contents=call.body["contents"],
                config=_config(call),
            )
            # The library sends nothing before the first is asked for.
            first = await anext(events, _END)
        return Stream(self._events(first, events))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aio.aclose()
        self._client.close()
        await self._session.close()

    async def _events(
        self,
        first: Any,  # noqa: ANN401 - the library's own
        rest: Any,  # noqa: ANN401 - the library's own
    ) -> AsyncGenerator[Any]:
        try:
            with self._translated():
                answer = first
                while answer is not _END:
                    yield _json(answer)
                    answer = await anext(rest, _END)
        finally:
            await rest.aclose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except google_errors.APIError as error:
            # Inside a stream; whatever fails before is the session's.
            raise failures.in_body(error.details, {}, self._key) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> errors.LLMError:
        match error:
            case aiohttp.ConnectionTimeoutError():
                return failures.unreachable(error, self._key)
            case TimeoutError():
                return failures.timed_out()
            case ValueError():
                return failures.unreadable("stream")
            case _:
                return failures.unreachable(error, self._key)


class _Connector(aiohttp.TCPConnector):
    """Gives up connecting in time: the library has no setting for that."""

    def __init__(self, connect_timeout: float) -> None:
        super().__init__(limit=MAX_CONNECTIONS)
        self._connect_timeout = connect_timeout

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own
    ) -> Connection:
        """Return a connection."""
        limited = aiohttp.ClientTimeout(
            total=timeout.total,
            connect=timeout.connect,
            sock_read=timeout.sock_read,
            sock_connect=self._connect_timeout,
        )
        return await super().connect(req, traces, limited)


def connect(config: LLMConfig, connect_timeout: float) -> Wire:
    """Make a client; its own retries are off, for ours are durable."""
    key = config.api_key.get_secret_value()

    async def check(response: aiohttp.ClientResponse) -> None:
        if response.status != _OK:
            content = await response.read()
            raise failures.of_answer(
                response.status, response.headers, content, key
            )

    session = aiohttp.ClientSession(
        connector=_Connector(connect_timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
        raise_for_status=check,
    )
    options = types.HttpOptions(
        base_url=config.endpoint or None,
        api_version=config.api_version or None,
        aiohttp_client=session,
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    client = genai.Client(api_key=key, vertexai=False, http_options=options)
    return GeminiWire(client, session, key)


def _config(
    call: Call, *, should_return_http_response: bool = False
) -> types.GenerateContentConfig:
    options = types.HttpOptions(
        timeout=int(call.timeout * 1000), headers=dict(call.headers)
    )
    return types.GenerateContentConfig(
        **call.body["config"],
        http_options=options,
        should_return_http_response=should_return_http_response,
        # No further calls that nobody sees or counts.
        automatic_continuation=False,
        automatic_function_calling=(
            types.AutomaticFunctionCallingConfig(disable=True)
        ),
    )


def _json(answer: types.GenerateContentResponse) -> Any:  # noqa: ANN401 - JSON is any of six types
    return answer.model_dump(mode="json", by_alias=True, exclude_none=True)
