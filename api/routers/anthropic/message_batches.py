"""`/v1/messages/batches`: many messages in one request.

The requests are stored while they come in, as the lines of a file that
nobody sees.
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from api.core.errors import ParameterError
from api.dependencies.services import get_services
from api.models.batch_models import Batch, FileRecord, Vendor
from api.routers.batch_requests import bounded, key_of, limit_of
from api.routers.gateway_route import (
    HUNG_UP,
    GatewayRoute,
    headers_of_interface,
)
from api.routers.openai.files import content_of
from api.services.batches.anthropic_requests import (
    RequestReader,
    RequestScanner,
)
from api.services.batches.anthropic_shapes import (
    show_list,
    show_message_batch,
)
from api.services.batches.batch_service import RESULT_SECONDS, NewBatch
from api.services.batches.file_service import FileService, NewFile
from api.services.batches.paging import Window
from api.services.clients.client_keys import ClientKey
from llm_sdks.forwarding import Interface
from utilities.clock import now_ms

router = APIRouter(route_class=GatewayRoute, include_in_schema=False)

_PAGE, _LARGEST_PAGE = 20, 1000
_PATH = "/v1/messages/batches"
# So much is looked through at a stretch, beside the event loop.
_AT_ONCE = 256 * 1024
# Anthropic takes 256 MB where OpenAI takes 200.
_OF_FILES = 1.28


@router.post(_PATH, response_model=None)
async def create_message_batch(
    request: Request, client: ClientKey
) -> Response:
    """Begin a batch."""
    services = get_services(request)
    most = round(services.max_file_bytes * _OF_FILES)
    new = await services.files.begin(
        client.client_id,
        "requests.jsonl",
        vendor=Vendor.ANTHROPIC,
        most_bytes=most,
    )
    source: FileRecord | None = None
    try:
        with services.files.uploading():
            body = bounded(request.stream(), most)
            source, total = await _receive(body, services.files, new)
    except ClientDisconnect:
        # The client has gone and cannot read it.
        return Response(status_code=HUNG_UP)
    finally:
        if source is None:
            await services.files.discard(new.file_id)
    batch = await services.batches.create(
        client.client_id,
        NewBatch(
            Vendor.ANTHROPIC,
            Interface.MESSAGES,
            source,
            output_seconds=RESULT_SECONDS,
            headers=headers_of_interface(request),
            total=total,
        ),
        key_of(request),
    )
    if batch.input_file_id != source.file_id:
        # It was begun before; its requests are there already.
        await services.files.discard(source.file_id)
    return JSONResponse(_shown(request, batch))


@router.get(_PATH, response_model=None)
async def list_message_batches(
    request: Request, client: ClientKey
) -> Response:
    """List the client's batches."""
    query = request.query_params
    window = Window(
        limit_of(query.get("limit"), _PAGE, _LARGEST_PAGE),
        after=query.get("after_id") or None,
        before=query.get("before_id") or None,
    )
    found = await get_services(request).batches.page(
        client.client_id, Vendor.ANTHROPIC, window
    )
    rows = [_shown(request, each) for each in found.items]
    return JSONResponse(show_list(found, rows))


@router.get(_PATH + "/{batch_id}", response_model=None)
async def get_message_batch(request: Request, client: ClientKey) -> Response:
    """Tell how far a batch is."""
    batch = await get_services(request).batches.get(
        client.client_id, Vendor.ANTHROPIC, request.path_params["batch_id"]
    )
    return JSONResponse(_shown(request, batch))


@router.post(_PATH + "/{batch_id}/cancel", response_model=None)
async def cancel_message_batch(
    request: Request, client: ClientKey
) -> Response:
    """Have a batch end soon."""
    batch = await get_services(request).batches.cancel(
        client.client_id, Vendor.ANTHROPIC, request.path_params["batch_id"]
    )
    return JSONResponse(_shown(request, batch))


@router.delete(_PATH + "/{batch_id}", response_model=None)
async def delete_message_batch(
    request: Request, client: ClientKey
) -> Response:
    """Remove a batch that has ended."""
    shown = request.path_params["batch_id"]
    await get_services(request).batches.remove(
        client.client_id, Vendor.ANTHROPIC, shown
    )
    return JSONResponse({"id": shown, "type": "message_batch_deleted"})


@router.get(_PATH + "/{batch_id}/results", response_model=None)
async def get_message_batch_results(
    request: Request, client: ClientKey
) -> Response:
    """Give the results, one a line."""
    services = get_services(request)
    record = await services.batches.results(
        client.client_id, Vendor.ANTHROPIC, request.path_params["batch_id"]
    )
    return content_of(services, record, "application/x-jsonl")


async def _receive(
    body: AsyncIterator[bytes], files: FileService, new: NewFile
) -> tuple[FileRecord, int]:
    """Store the requests of a body; return how many there are.

    Raises:
        ParameterError: names what is wrong.
        TooLargeError: a request, or the body, is too large.
    """
    scanner, reader = RequestScanner(), RequestReader()

    def lines(piece: bytes) -> bytes:
        return b"".join(map(reader.line, scanner.feed(piece)))

    waiting = bytearray()
    async for chunk in body:
        waiting += chunk
        if len(waiting) >= _AT_ONCE:
            await new.add(await asyncio.to_thread(lines, bytes(waiting)))
            waiting.clear()
    await new.add(await asyncio.to_thread(lines, bytes(waiting)))
    scanner.close()
    if not reader.count:
        raise ParameterError("must have at least one request", "requests")
    # It is kept as long as its batch needs it.
    expires_at = int(new.record["expiresAt"])
    return await files.finish(new, expires_at), reader.count


def _shown(request: Request, batch: Batch) -> dict[str, object]:
    base_url = str(request.base_url).rstrip("/")
    return show_message_batch(batch, base_url, now_ms())
