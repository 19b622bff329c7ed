"""Streams: rules, ownership, records."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from api.core.errors import NotFoundError, ProviderFailedError, RuleError
from api.models.charge import Bill, dump_charged
from api.models.job_fields import ServiceClass
from api.models.model_models import ModelWithKey
from api.models.stream_models import (
    DateRange,
    Stream,
    StreamAnalytics,
    StreamCreate,
    StreamDataPoint,
    StreamGroup,
    StreamStatus,
    StreamSummary,
)
from api.services.calls.live_calls import LiveCalls
from api.services.calls.live_stream import (
    STOPPED,
    LiveStream,
    StreamEnd,
    StreamLimits,
)
from api.services.calls.model_access import ModelAccess
from api.services.calls.model_call import Account, ModelCall
from api.services.calls.model_caller import Admits, ModelCaller
from api.services.calls.routing.choosing import Question
from api.services.calls.routing.route_book import NO_ROUTES
from api.services.calls.routing.routed import RoutedCall
from api.services.calls.routing.router import Router, Routing
from api.services.models.model_service import ModelService
from api.services.monitoring.observer import NOBODY, Observer
from api.services.prompts.prompt_service import PromptService
from api.services.shared import client_reference, usage
from api.services.shared.caller import Caller
from api.services.shared.date_range import TimeRange
from api.services.shared.paging import (
    Page,
    PageRequest,
    fetch_page,
    fields_of,
)
from api.services.shared.repository import Repository
from api.services.shared.settlement import (
    CHARGED,
    STREAM,
    Settles,
    new_charged,
    postings_of,
)
from utilities import payload
from utilities.clock import Clock, now_ms, to_datetime
from utilities.cosmos_connector import (
    Document,
    Documents,
    ObjectId,
    StoreError,
)

MOST_DATA_POINTS = 10_000
_POINT_FIELDS = ("startedAt", "groupKey", "processingMetrics")
# A document ends at 16 MiB; a character may take four bytes.
_MOST_CHARACTERS = 3 * 1024 * 1024
_LIMITS = StreamLimits()

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StreamFilter:
    """What lists and summaries can be narrowed to."""

    model: str | None = None
    status: StreamStatus | None = None
    times: TimeRange = field(default_factory=TimeRange)
    reference: Mapping[str, str] = field(default_factory=dict)

    def to_query(self) -> Document:
        """Give the filter as the store's."""
        fields = {"model": self.model, "status": self.status}
        where: Document = {k: v for k, v in fields.items() if v is not None}
        if condition := self.times.to_query():
            where["startedAt"] = condition
        return where | client_reference.filter_of(self.reference)


@dataclass(frozen=True, slots=True)
class _Fresh:
    """Models as they are now: a person waits, and may have set them."""

    models: ModelService

    async def model(self, reference: str) -> ModelWithKey:
        return await self.models.find(reference)


class StreamService:
    """What clients and the administrator do with streams."""

    def __init__(
        self,
        documents: Documents,
        models: ModelService,
        prompts: PromptService,
        access: ModelAccess,
        *,
        admission: Admits | None = None,
        observer: Observer = NOBODY,
        clock: Clock = now_ms,
        limits: StreamLimits = _LIMITS,
        ledger: Settles | None = None,
        routing: Routing | None = None,
        process_id: str = "",
        live: LiveCalls | None = None,
    ) -> None:
        self._documents = documents
        self._streams = Repository(documents, Stream, "Stream")
        self._prompts = prompts
        self._caller = ModelCaller(
            access, admission=admission, observer=observer
        )
        self._router = Router(routing or Routing(NO_ROUTES), _Fresh(models))
        self._longest_call = access.timeout_seconds
        self._clock = clock
        self._limits = limits
        self._ledger = ledger
        self._process_id = process_id
        self.live = live or LiveCalls()

    async def start(
        self, request: StreamCreate, caller: Caller
    ) -> tuple[LiveStream, str | None]:
        """Begin a stream; returns it with its first piece.

        Raises:
            RuleError: a model or prompt it names does not exist.
            ProviderFailedError: it failed before the first piece came.
        """
        received = time.perf_counter()
        system = await self._system(request, caller)
        routed = await self._routed(request, system)
        document, bill = self._new(request, caller), Bill()
        # By `startedAt` streams are found; it is what `createdAt` shows.
        await self._documents.insert(document, document["startedAt"])
        live = LiveStream(
            str(document["_id"]),
            document["clientId"],
            self._caller,
            ModelCall(
                routed.model,
                system,
                request.user_prompt,
                request.temperature,
                account=Account(
                    document["clientId"],
                    STREAM,
                    service_class=ServiceClass.INTERACTIVE,
                ),
                bill=bill,
            ),
            lambda end: self._record(document, end, routed, bill),
            self._limits,
            received,
            routed,
        )
        self.live.add(live, caller.require_client())
        return live, await self._first_piece(live)

    async def page(
        self, caller: Caller, wanted: StreamFilter, page: PageRequest
    ) -> Page[Stream]:
        """List streams in order of their start."""
        where = {**caller.own, **wanted.to_query()}
        return await fetch_page(
            self._documents,
            where,
            page,
            Stream.from_document,
            fields=fields_of(Stream),
        )

    async def get(self, stream_id: str, caller: Caller) -> Stream:
        """Return the record of a stream.

        Raises:
            NotFoundError: there is none, or it is another client's.
        """
        return await self._streams.get(stream_id, caller.own)

    async def summary(
        self, caller: Caller, wanted: StreamFilter
    ) -> StreamSummary:
        """Count by status; sum metrics over the completed."""
        where = {**caller.own, **wanted.to_query()}
        counts, metrics = await usage.summarize(
            self._documents, where, (StreamStatus.COMPLETED,)
        )
        return StreamSummary(
            **counts,
            total=sum(counts.values()),
            processing_metrics=metrics,
        )

    async def analytics(
        self, caller: Caller, times: TimeRange
    ) -> StreamAnalytics:
        """Chart the completed streams of a range.

        The points are the newest ones, in order of time, at most
        `MOST_DATA_POINTS` and less where their references are large; the
        groups are of all streams of the range.
        """
        wanted = StreamFilter(status=StreamStatus.COMPLETED, times=times)
        where = {**caller.own, **wanted.to_query()}
        newest = await fetch_page(
            self._documents,
            where,
            PageRequest(MOST_DATA_POINTS),
            _point,
            order="startedAt",
            fields=_POINT_FIELDS,
            newest_first=True,
        )
        groups = await usage.sum_by(self._documents, where, "groupKey")
        return StreamAnalytics(
            data_points=list(reversed(newest.items)),
            groups=[
                StreamGroup(
                    **payload.load(key), count=n, processing_metrics=sums
                )
                for key, n, sums in groups
            ],
            total_count=sum(n for _, n, _ in groups),
            date_range=DateRange(from_=times.start, to=times.end),
        )

    async def close_interrupted(self) -> None:
        """End the records of streams whose process died."""
        oldest = self._clock() - round(self._longest_call * 1000)
        await self._documents.update_many(
            {
                "status": StreamStatus.STREAMING,
                "startedAt": {"$lt": oldest},
            },
            _failed("The service ended during the stream", STOPPED),
        )

    async def stop(self) -> None:
        """End every running stream and see its record written."""
        await self.live.stop()
        await self._caller.close()

    async def _routed(self, request: StreamCreate, system: str) -> RoutedCall:
        name = request.model

        def question() -> Question:
            texts = system, request.user_prompt
            return Question(sum(len(each.encode()) for each in texts))

        try:
            plan = await self._router.plan(name, question)
        except NotFoundError:
            raise RuleError(f"Model {name} not found") from None
        return RoutedCall(self._router, plan, question)

    async def _system(self, request: StreamCreate, caller: Caller) -> str:
        ids = request.additional_prompts
        if not ids:
            return ""
        try:
            found = await self._prompts.usable(ids, caller.require_client())
        except NotFoundError as error:
            raise RuleError(str(error)) from None
        return "\n\n".join(found[prompt_id].prompt for prompt_id in ids)

    async def _first_piece(self, live: LiveStream) -> str | None:
        try:
            first = await live.first_piece()
        except asyncio.CancelledError:
            live.end_call()
            raise
        if first is None and live.end.error is not None:
            raise ProviderFailedError(live.end.error.message, live.stream_id)
        return first

    def _new(self, request: StreamCreate, caller: Caller) -> Document:
        group = {
            "model": request.model,
            "clientReference": request.client_reference,
            "promptIds": request.additional_prompts,
        }
        reference = request.client_reference
        return {
            "_id": ObjectId(),
            "clientId": caller.require_client(),
            "model": request.model,
            "temperature": request.temperature,
            "status": StreamStatus.STREAMING,
            "startedAt": self._clock(),
            "requestData": payload.dump(
                {
                    "userPrompt": request.user_prompt,
                    "additionalPrompts": request.additional_prompts,
                }
            ),
            "clientReference": reference and payload.dump(reference),
            client_reference.INDEX_FIELD: client_reference.index_of(reference),
            "groupKey": payload.dump(group),
        }

    async def _record(
        self,
        document: Document,
        end: StreamEnd,
        routed: RoutedCall,
        bill: Bill,
    ) -> None:
        response: Document = {"text": _kept(end.progress.text)}
        if end.error is not None:
            response |= {
                "error": payload.printable(end.error.message),
                "errorType": end.error.kind,
            }
        failed = end.error is not None
        changes = {
            "status": StreamStatus.ERROR if failed else StreamStatus.COMPLETED,
            "responseData": payload.dump(response),
            "processingMetrics": end.metrics(routed.model, routed.cost_before),
            **routed.record(has_answer=bool(end.progress.text)),
            "_metadata.completedAt": self._clock(),
        }
        try:
            await self._store(document, changes, bill)
        except StoreError:
            # The client has its text; only the record is incomplete.
            log.exception("stream_not_recorded", streamId=str(document["_id"]))

    async def _store(
        self, document: Document, changes: Document, bill: Bill
    ) -> None:
        """Store a stream's record, and settle what its call cost."""
        where = {"_id": document["_id"]}
        if self._ledger is None or not bill:
            await self._documents.update(where, changes)
            return
        block = await self._ledger.open("streams", [document["_id"]])
        charged = new_charged("", block, None, bill, self._process_id)
        text = dump_charged(None, charged)
        await self._documents.update(where, {**changes, CHARGED: text})
        stored = {**document, CHARGED: text}
        await self._ledger.settle(block, postings_of(stored, block.block_id))


def _kept(text: str) -> str:
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]} [... {len(text)} characters]"
    return payload.printable(text)


def _failed(message: str, kind: str) -> Document:
    response = {"text": "", "error": message, "errorType": kind}
    return {
        "status": StreamStatus.ERROR,
        "responseData": payload.dump(response),
    }


def _point(document: Document) -> StreamDataPoint:
    """Read a point of a stream; its group has all but the numbers."""
    started = to_datetime(document["startedAt"])
    return StreamDataPoint(
        **payload.load(document["groupKey"]),
        stream_id=str(document["_id"]),
        timestamp=started,
        processing_metrics=document["processingMetrics"],
    )
