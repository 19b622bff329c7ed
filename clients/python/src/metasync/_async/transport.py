"""Sends requests, and sends them again where that helps."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import httpx2
from pydantic import TypeAdapter, ValidationError

from metasync._async import _io
from metasync.access import Access
from metasync.errors import MetasyncError, NoAnswerError
from metasync.requests import Request, error_of
from metasync.retrying import (
    RetryPolicy,
    is_transient,
    may_repeat,
    retry_after,
)

_NEXT_CURSOR = "X-Next-Cursor"
_PAGE = 500
T = TypeVar("T")


class AsyncTransport:
    """Speaks with one server.

    `connect` finds it when the first request is made, which may start
    an instance; it blocks.
    """

    def __init__(
        self,
        connect: Callable[[], Access],
        *,
        timeout: float,
        retries: RetryPolicy,
        http_options: dict[str, Any],
    ) -> None:
        self._connect = connect
        self._timeout = timeout
        self._retries = retries
        self._http_options = http_options
        self._lock = _io.Lock()
        self._access: Access | None = None
        self._http: _io.HttpClient | None = None

    async def aclose(self) -> None:
        """Close all connections; the next request makes new ones."""
        async with self._lock:
            http, self._http = self._http, None
            self._access = None
        if http is not None:
            await http.aclose()

    async def _connected(self) -> tuple[Access, _io.HttpClient]:
        async with self._lock:
            if self._access is None:
                self._access = await _io.in_thread(self._connect)
            if self._http is None:
                self._http = _io.HttpClient(
                    # No proxy leads to this machine.
                    trust_env=not self._access.is_on_this_machine,
                    **self._http_options,
                )
            return self._access, self._http

    async def get(self, kind: type[T], path: str, **query: Any) -> T:
        """GET one thing of this kind."""
        return await self.ask(kind, Request("GET", path, query))

    async def ask(self, kind: type[T], request: Request) -> T:
        """Send a request whose answer is of this kind."""
        return read(kind, await self.send(request))

    async def pages(
        self,
        kind: type[T],
        path: str,
        *,
        most: int | None = None,
        as_admin: bool = False,
        **query: Any,
    ) -> AsyncIterator[T]:
        """GET every item of a list, or the first ones, page by page."""
        cursor, left = None, most
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = {**query, "limit": size, "cursor": cursor}
            request = Request("GET", path, page, as_admin=as_admin)
            response = await self.send(request)
            items = read(list[kind], response)  # type: ignore[valid-type]
            for item in items:
                yield item
            left = None if left is None else left - len(items)
            cursor = response.headers.get(_NEXT_CURSOR)
            if cursor is None:
                return

    async def send(self, request: Request) -> httpx2.Response:
        """Send a request until it is answered.

        Raises:
            StatusError: the server refuses it.
            NoAnswerError: there is no answer.
        """
        access, http = await self._connected()
        last = time.monotonic() + self._retries.seconds
        for delay in self._retries.delays():
            try:
                response = await self._once(
                    http, request, access, self._timeout + request.seconds
                )
            except httpx2.RequestError as error:
                asked = None
                problem: MetasyncError = _no_answer(access, error)
                again = may_repeat(error, repeatable=request.may_be_repeated)
            else:
                if response.is_success:
                    return response
                asked = retry_after(response)
                problem = error_of(response, request, access)
                again = is_transient(
                    response.status_code, repeatable=request.may_be_repeated
                )
            pause = delay if asked is None else asked + delay
            if not again or time.monotonic() + pause > last:
                raise problem from None
            await _io.sleep(pause)
        raise AssertionError  # pragma: no cover - the delays have no end

    @staticmethod
    async def _once(
        http: _io.HttpClient,
        request: Request,
        access: Access,
        timeout: float,
    ) -> httpx2.Response:
        parts = request.parts
        return await http.request(
            request.method,
            f"{access.url}{request.path}",
            params=parts["params"],
            content=parts.get("content"),
            headers={
                **access.headers(as_admin=request.as_admin),
                **parts["headers"],
            },
            timeout=timeout,
        )

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[httpx2.Response]:
        """Send a request whose answer comes in pieces; once only."""
        access, http = await self._connected()
        parts = request.parts
        try:
            async with http.stream(
                request.method,
                f"{access.url}{request.path}",
                content=parts.get("content"),
                headers={**access.headers(), **parts["headers"]},
                timeout=self._timeout + request.seconds,
            ) as response:
                if not response.is_success:
                    await response.aread()
                    raise error_of(response, request, access)
                yield response
        except httpx2.RequestError as error:
            raise _no_answer(access, error) from None


def read(kind: type[T], response: httpx2.Response) -> T:
    """Read an answer as a value of this kind.

    Raises:
        MetasyncError: it is none; what answers is perhaps no Metasync.
    """
    try:
        return _adapter(kind).validate_json(response.content)
    except ValidationError as error:
        raise MetasyncError(
            f"The answer of {response.request.url.path} is not as expected: "
            f"{_first(error)}. Is it Metasync that answers there?"
        ) from None


def _first(problem: ValidationError) -> str:
    error = problem.errors(include_url=False, include_input=False)[0]
    return ": ".join([*map(str, error["loc"]), error["msg"]])


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def _no_answer(access: Access, error: Exception) -> NoAnswerError:
    said = access.without_secrets(str(error))
    name = type(error).__name__
    return NoAnswerError(access.url, f"{name}: {said}" if said else name)
