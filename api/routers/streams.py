"""`/stream`: one prompt, answered while the client watches."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.core.error_responses import MODEL_NAME, STREAM_ID
from api.core.problems import problems
from api.dependencies.callers import AnyCaller, ClientCaller
from api.dependencies.services import Streams
from api.models.stream_models import (
    Stream,
    StreamAnalytics,
    StreamCreate,
    StreamStatus,
    StreamSummary,
)
from api.routers.pages import PageQuery, answer
from api.routers.reference_query import ReferenceQuery
from api.routers.resource_route import ResourceRoute
from api.services.calls.live_stream import LiveStream
from api.services.calls.routing.routed import shown_name
from api.services.shared.date_range import TimeRange, read_range
from api.services.streams.stream_service import StreamFilter
from utilities import payload

EVENT_STREAM = "text/event-stream"
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

router = APIRouter(
    prefix="/stream", tags=["streams"], route_class=ResourceRoute
)
_BAD_DATE = {
    400: [
        (
            "from must be an ISO 8601 date or time, such as 2026-01-31 or "
            "2026-01-31T12:00:00Z"
        )
    ]
}
_ANSWER = {
    "description": "The text of the answer while the model writes it, or, "
    f"with `Accept: {EVENT_STREAM}`, the events `delta`, `usage`, `error` and "
    "`done`. If the call fails after the first piece, the text ends with "
    "`[Error: ...]`.",
    "content": {
        "text/plain": {
            "schema": {"type": "string"},
            "example": "Paris is the capital of France.",
        },
        EVENT_STREAM: {
            "schema": {"type": "string"},
            "example": 'event: delta\ndata: {"text":"Paris"}\n\n',
        },
    },
    "headers": {
        each: {"$ref": f"#/components/headers/{each}"}
        for each in (STREAM_ID, MODEL_NAME)
    },
}
_FAILURES = problems(
    {
        400: [
            "Model gpt-5 not found",
            "Prompt 665f1c2ab7e4d90012345678 not found",
        ],
        502: ["The provider refused the key"],
    }
)


def time_range(
    start: Annotated[
        str | None,
        Query(
            alias="from",
            description="An ISO 8601 date or time, included in the range.",
            examples=["2026-01-01"],
        ),
    ] = None,
    end: Annotated[
        str | None,
        Query(
            alias="to",
            description="Like `from`; a date means the whole day.",
            examples=["2026-01-31"],
        ),
    ] = None,
) -> TimeRange:
    """Read `from` and `to`: ISO 8601, inclusive, UTC."""
    return read_range(start, end)


TimeQuery = Annotated[TimeRange, Depends(time_range)]


def stream_filter(
    reference: ReferenceQuery,
    times: TimeQuery,
    model: str | None = None,
    status: StreamStatus | None = None,
) -> StreamFilter:
    """Read the query string, with any `clientReference.<field>=<value>`."""
    return StreamFilter(model, status, times, reference)


StreamQuery = Annotated[StreamFilter, Depends(stream_filter)]


@router.post(
    "",
    response_class=StreamingResponse,
    responses={200: _ANSWER, **_FAILURES},
)
async def create_stream(
    request: Request,
    body: StreamCreate,
    streams: Streams,
    caller: ClientCaller,
) -> StreamingResponse:
    """Stream an answer; if the client hangs up, the call is cancelled."""
    live, first = await streams.start(body, caller)
    as_events = EVENT_STREAM in request.headers.get("accept", "")
    content = _events(live, first) if as_events else _text(live, first)
    return StreamingResponse(
        content,
        media_type=EVENT_STREAM if as_events else "text/plain",
        headers={
            **_HEADERS,
            STREAM_ID: live.stream_id,
            MODEL_NAME: shown_name(live.model_name),
        },
    )


@router.get("", responses=problems(_BAD_DATE))
async def list_streams(
    streams: Streams,
    caller: AnyCaller,
    wanted: StreamQuery,
    page: PageQuery,
    response: Response,
) -> Sequence[Stream]:
    """List the records of streams.

    Any `clientReference.<field>=<value>` in the query narrows the list.
    """
    return answer(await streams.page(caller, wanted, page), response)


@router.get("/summary", responses=problems(_BAD_DATE))
async def summarize_streams(
    streams: Streams, caller: AnyCaller, wanted: StreamQuery
) -> StreamSummary:
    """Count streams by status, and sum the metrics of completed ones.

    Any `clientReference.<field>=<value>` in the query narrows both.
    """
    return await streams.summary(caller, wanted)


@router.get("/analytics", responses=problems(_BAD_DATE))
async def analyze_streams(
    streams: Streams, caller: AnyCaller, times: TimeQuery
) -> StreamAnalytics:
    """Return every completed stream as a point, and groups of equal ones."""
    return await streams.analytics(caller, times)


@router.get("/{stream_id}")
async def get_stream(
    stream_id: str, streams: Streams, caller: AnyCaller
) -> Stream:
    """Return the record of a stream."""
    return await streams.get(stream_id, caller)


async def _text(live: LiveStream, first: str | None) -> AsyncIterator[str]:
    async for piece in live.pieces(first):
        yield piece
    if live.end.error is not None:
        yield f"[Error: {live.end.error.message}]"


async def _events(live: LiveStream, first: str | None) -> AsyncIterator[str]:
    async for piece in live.pieces(first):
        yield _event("delta", {"text": piece})
    end, usage = live.end, live.end.progress.usage
    if end.error is not None:
        error = {"errorType": end.error.kind, "message": end.error.message}
        yield _event("error", error)
    yield _event(
        "usage",
        {
            "inputTokens": usage.input_tokens if usage else None,
            "outputTokens": usage.output_tokens if usage else None,
        },
    )
    yield _event("done", {"streamId": live.stream_id})


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {payload.dump(data)}\n\n"
