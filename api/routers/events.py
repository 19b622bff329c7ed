"""`/events`: what happens, while it happens, as server-sent events."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.core.problems import problems
from api.dependencies.callers import AnyCaller, still_known
from api.dependencies.services import Events
from api.models.live_models import Topic
from api.routers.resource_route import ResourceRoute
from api.services.live.hub import Ended, Hub, Watcher, WatchingEndedError
from api.services.live.live_event import LiveEvent, Wanted
from api.services.shared.caller import Caller
from api.services.shared.date_range import read_range
from utilities.clock import to_ms

router = APIRouter(
    prefix="/events", tags=["events"], route_class=ResourceRoute
)
# Every so often it is checked whether the caller may still see anything, and
# a comment shows that the connection lives.
_CHECK_SECONDS = 10.0
_RETRY_MS = 2_000
_ALIVE = ": alive\n\n"
_RESET = "event: reset\ndata: {}\n\n"
_SIGNED_OUT = 'event: end\ndata: {"reason":"SIGNED_OUT"}\n\n'
_TOO_SLOW = 'event: end\ndata: {"reason":"TOO_SLOW"}\n\n'
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # nginx would keep events back until its buffer is full.
    "X-Accel-Buffering": "no",
}
_BAD_DATE = [
    (
        "from must be an ISO 8601 date or time, such as 2026-01-31 or "
        "2026-01-31T12:00:00Z"
    )
]
_SHOWN = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": "id: 1769860800000-5a3f0c1d\ndata: {...}\n\n",
    }
}
_ANY = "(" + "|".join(Topic) + ")"

_Topics = Annotated[
    str | None,
    Query(
        pattern=f"^{_ANY}(,{_ANY}){{0,9}}$",
        description="Topics, with commas in between; by default, all.",
        examples=["job,run"],
    ),
]
_Types = Annotated[
    str | None,
    Query(
        max_length=512,
        description="Types of events, with commas in between.",
        examples=["job.failed"],
    ),
]
_Id = Annotated[str | None, Query(max_length=256)]
_Since = Annotated[
    str | None,
    Query(
        alias="from",
        description="Events of this time or later come first, as far as they "
        "are known.",
    ),
]
_LastId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=128,
        description="What came after this event comes first.",
    ),
]


def wanted_events(
    caller: AnyCaller,
    *,
    topics: _Topics = None,
    types: _Types = None,
    client_id: Annotated[_Id, Query(alias="clientId")] = None,
    job_id: Annotated[_Id, Query(alias="jobId")] = None,
    batch_key: Annotated[_Id, Query(alias="batchKey")] = None,
    run_id: Annotated[_Id, Query(alias="runId")] = None,
    model: _Id = None,
    operation: _Id = None,
) -> Wanted:
    """Read the query string."""
    fields = {
        "jobId": job_id,
        "batchKey": batch_key,
        "runId": run_id,
        "model": model,
        "operation": operation,
    }
    return Wanted(
        caller,
        frozenset(map(Topic, topics.split(",")))
        if topics
        else frozenset(Topic),
        frozenset(types.split(",")) if types else frozenset(),
        client_id,
        {name: value for name, value in fields.items() if value is not None},
    )


@router.get(
    "",
    response_class=StreamingResponse,
    responses=problems({400: _BAD_DATE}) | {200: {"content": _SHOWN}},
)
async def watch_events(
    request: Request,
    hub: Events,
    caller: AnyCaller,
    wanted: Annotated[Wanted, Depends(wanted_events)],
    since: _Since = None,
    last_id: _LastId = None,
) -> StreamingResponse:
    """Watch what happens to jobs, batches, runs, models, workers, the queue.

    The answer does not end. After a break, `Last-Event-ID` brings what was
    missed; where that is not known any more, an event `reset` says so:
    what is shown must then be read anew.
    """
    times = read_range(since, None)
    start = None if times.start is None else to_ms(times.start)
    hub.enter(caller.name)
    missed, is_whole = hub.replay(wanted, after=last_id, since=start)
    watching = _Watching(request, hub, caller, hub.watch(wanted))
    await watching.begun()
    return _EventResponse(watching, watching.events(missed, whole=is_whole))


class _Watching:
    """One who watches, as long as its answer goes on."""

    def __init__(
        self, request: Request, hub: Hub, caller: Caller, watcher: Watcher
    ) -> None:
        self._request = request
        self._hub = hub
        self._caller = caller
        self._watcher = watcher
        self._check_at = time.monotonic() + _CHECK_SECONDS

    async def events(
        self, missed: list[LiveEvent], *, whole: bool
    ) -> AsyncIterator[str]:
        """Write events until the client goes, or must."""
        yield f"retry: {_RETRY_MS}\n\n{'' if whole else _RESET}"
        if missed:
            yield "".join(map(_written, missed))
        try:
            while await self._may_watch():
                found = await self._watcher.next(_CHECK_SECONDS)
                yield "".join(map(_written, found)) or _ALIVE
            yield _SIGNED_OUT
        except WatchingEndedError as error:
            if error.reason is Ended.SLOW:
                yield _TOO_SLOW

    async def begun(self) -> None:
        """Return when all that happens from now on will be told."""
        try:
            await self._hub.begun(self._watcher)
        except BaseException:
            # Cancelled: there will be no answer that ends it.
            self.end()
            raise

    def end(self) -> None:
        """Watch no longer."""
        self._hub.forget(self._watcher)
        self._hub.leave(self._caller.name)

    async def _may_watch(self) -> bool:
        if time.monotonic() < self._check_at:
            return True
        self._check_at = time.monotonic() + _CHECK_SECONDS
        return await still_known(self._request, self._caller)


class _EventResponse(StreamingResponse):
    """An answer after which nobody watches, however it ends."""

    def __init__(
        self, watching: _Watching, events: AsyncIterator[str]
    ) -> None:
        super().__init__(
            events, media_type="text/event-stream", headers=_HEADERS
        )
        self._watching = watching

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watching.end()


def _written(event: LiveEvent) -> str:
    return f"id: {event.id}\ndata: {event.text}\n\n"
