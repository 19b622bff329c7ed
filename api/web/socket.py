"""`/web`: packages over a WebSocket connection."""

import asyncio
import json
import time
from collections import deque
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from pydantic_core import from_json

from api.core.error_responses import status_of
from api.core.errors import (
    ForbiddenError,
    MetasyncError,
    RuleError,
    TooManyRequestsError,
)
from api.dependencies.callers import key_caller_of, still_known
from api.dependencies.services import Services, services_of
from api.dependencies.signed_in import has_key
from api.services.live.hub import Ended, Watcher, WatchingEndedError
from api.services.live.live_event import LiveEvent, Wanted
from api.services.shared.caller import Caller
from api.web.handlers import new_registry
from api.web.packages import Answer, Call, Handler, Request, Role, written
from utilities.cosmos_connector import StoreError

router = APIRouter()
REGISTRY: Final = new_registry()
EVENT = "event"
MESSAGES_PER_SECOND = 50
MOST_SUBSCRIPTIONS = 20
POLICY, GOING_AWAY, TRY_AGAIN = 1008, 1001, 1013
_BAD, _FORBIDDEN, _UNKNOWN, _INVALID, _AWAY = 400, 403, 404, 422, 503
# One who does not read for this time is dropped.
_SEND_SECONDS = 10.0
_CHECK_SECONDS = 10.0
_OTHER_SITE = "The connection does not come from this server's own pages"

log = structlog.get_logger(__name__)


class _RefusedError(Exception):
    """The connection ends, with a code and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@router.websocket("/web")
async def web(socket: WebSocket) -> None:
    """Answer packages, and send events, until either side ends."""
    try:
        _check_site(socket)
        caller = await key_caller_of(socket)
    except MetasyncError as error:
        detail = {"detail": str(error)}
        refusal = JSONResponse(detail, status_of(error))
        await socket.send_denial_response(refusal)
        return
    await socket.accept()
    hub = services_of(socket).hub
    try:
        hub.enter(caller.name)
    except TooManyRequestsError as error:
        await socket.close(POLICY, str(error))
        return
    try:
        await _Connection(socket, caller, services_of(socket)).serve()
    finally:
        hub.leave(caller.name)


def _check_site(socket: WebSocket) -> None:
    """Refuse other sites' pages, which browsers let connect to anything.

    Raises:
        ForbiddenError: it is such a page.
    """
    origin = socket.headers.get("origin")
    if origin is None or has_key(socket):
        return
    if urlsplit(origin).netloc != socket.headers.get("host"):
        raise ForbiddenError(_OTHER_SITE)


class _Connection:
    """One connection: requests in order, events in between."""

    def __init__(
        self, socket: WebSocket, caller: Caller, services: Services
    ) -> None:
        self._socket = socket
        self._caller = caller
        self._services = services
        self._sending = asyncio.Lock()
        self._watchers: dict[str | int, Watcher] = {}
        self._pushing: dict[str | int, asyncio.Task[None]] = {}
        # Subscriptions whose requests are not answered yet.
        self._new: list[tuple[str | int, Watcher, list[LiveEvent]]] = []
        self._times: deque[float] = deque(maxlen=MESSAGES_PER_SECOND)
        self._refused: asyncio.Future[_RefusedError] = (
            asyncio.get_running_loop().create_future()
        )

    async def serve(self) -> None:
        """Work until the client goes, or is refused."""
        loop = asyncio.create_task(self._receive())
        checking = asyncio.create_task(self._check())
        try:
            ends: set[asyncio.Future[Any]] = {loop, checking, self._refused}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in (loop, checking):
                if task.done():
                    task.result()
            await self._close(self._refused.result())
        except _RefusedError as refusal:
            await self._close(refusal)
        except (WebSocketDisconnect, TimeoutError):
            pass
        finally:
            for task in (loop, checking):
                task.cancel()
            for req_id in list(self._watchers):
                self.unsubscribe(req_id)

    async def subscribe(
        self,
        req_id: str | int,
        wanted: Wanted,
        after: str | None,
        since: int | None,
    ) -> tuple[int, bool]:
        """Send events from now on; see `Subscriptions`.

        Raises:
            RuleError: the connection has as many as it may have.
        """
        if len(self._watchers) >= MOST_SUBSCRIPTIONS:
            raise RuleError(
                f"A connection has at most {MOST_SUBSCRIPTIONS} subscriptions"
            )
        if req_id in self._watchers:
            raise RuleError(f"req_id {req_id} is a subscription already")
        hub = self._services.hub
        missed, is_whole = hub.replay(wanted, after=after, since=since)
        watcher = hub.watch(wanted)
        self._watchers[req_id] = watcher
        await hub.begun(watcher)
        self._new.append((req_id, watcher, missed))
        return len(missed), is_whole

    def unsubscribe(self, req_id: str | int) -> bool:
        """Send no more; see `Subscriptions`."""
        watcher = self._watchers.pop(req_id, None)
        if watcher is None:
            return False
        self._services.hub.forget(watcher)
        if (push := self._pushing.pop(req_id, None)) is not None:
            push.cancel()
        return True

    async def _receive(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", GOING_AWAY))
            self._count()
            text = message.get("text")
            if text is None:
                raise _RefusedError(POLICY, "Messages must be text")
            await self._send(await self._answer(text))
            self._begin_new()

    def _begin_new(self) -> None:
        # Events come after the answer to their subscription.
        for req_id, watcher, missed in self._new:
            push = self._push(req_id, watcher, missed)
            self._pushing[req_id] = asyncio.create_task(push)
        self._new.clear()

    def _count(self) -> None:
        now = time.monotonic()
        times = self._times
        if len(times) == MESSAGES_PER_SECOND and now - times[0] < 1:
            raise _RefusedError(
                POLICY, f"More than {MESSAGES_PER_SECOND} messages a second"
            )
        times.append(now)

    async def _answer(self, text: str) -> str:
        try:
            request = Request.model_validate(from_json(text))
        except ValueError:
            detail = "A message is JSON with pkg_id, req_id and data"
            return written("", None, Answer({"detail": detail}, None, _BAD))
        answer = await self._handle(request)
        return written(request.pkg_id, request.req_id, answer)

    async def _handle(self, request: Request) -> Answer:
        handler = REGISTRY.handlers.get(request.pkg_id)
        if handler is None:
            return _problem(_UNKNOWN, "There is no such package")
        if handler.role is Role.ADMIN and not self._caller.is_admin:
            return _problem(_FORBIDDEN, "Admin API key is required")
        try:
            return await self._run(handler, request)
        except ValidationError as error:
            return Answer({"detail": _problems(error)}, None, _INVALID)
        except MetasyncError as error:
            return _problem(status_of(error), str(error))
        except StoreError:
            return _problem(_AWAY, "The database cannot be reached; try again")

    async def _run(self, handler: Handler, request: Request) -> Answer:
        data = handler.data.model_validate(request.data)
        call = Call(self._caller, self._services, request.req_id, self)
        return await handler.run(call, data)

    async def _push(
        self, req_id: str | int, watcher: Watcher, missed: list[LiveEvent]
    ) -> None:
        try:
            for event in missed:
                await self._send(_event(req_id, event))
            while True:
                for event in await watcher.next(_CHECK_SECONDS):
                    await self._send(_event(req_id, event))
        except WatchingEndedError as error:
            slow = error.reason is Ended.SLOW
            code = POLICY if slow else GOING_AWAY
            reason = "Too slow" if slow else "The service ends"
            self._refuse(_RefusedError(code, reason))
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            self._refuse(_RefusedError(POLICY, "Too slow"))

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            if not await still_known(self._socket, self._caller):
                raise _RefusedError(POLICY, "Signed out")

    async def _send(self, text: str) -> None:
        async with asyncio.timeout(_SEND_SECONDS), self._sending:
            await self._socket.send_text(text)

    def _refuse(self, refusal: _RefusedError) -> None:
        if not self._refused.done():
            self._refused.set_result(refusal)

    async def _close(self, refusal: _RefusedError) -> None:
        try:
            async with asyncio.timeout(1):
                await self._socket.close(refusal.code, refusal.reason)
        except (TimeoutError, RuntimeError):
            log.info("watcher_dropped", reason=refusal.reason)


def _event(req_id: str | int, event: LiveEvent) -> str:
    # The event is JSON already, written once for all who watch.
    return (
        f'{{"pkg_id":"{EVENT}","req_id":{json.dumps(req_id)},'
        f'"status_code":200,"data":{event.text}}}'
    )


def _problem(status: int, detail: str) -> Answer:
    return Answer({"detail": detail}, None, status)


def _problems(error: ValidationError) -> list[dict[str, object]]:
    return [
        {"type": each["type"], "loc": list(each["loc"]), "msg": each["msg"]}
        for each in error.errors(include_input=False, include_url=False)[:20]
    ]
