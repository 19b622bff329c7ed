"""`/v1/batches`: many requests in one file, answered within a day."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.core.errors import NotFoundError, ParameterError
from api.dependencies.services import get_services
from api.models.batch_models import FilePurpose, FileRecord, Vendor
from api.routers.batch_requests import key_of, limit_of
from api.routers.gateway_route import (
    GatewayRoute,
    bodies_of,
    headers_of_interface,
)
from api.services.batches.batch_service import NewBatch
from api.services.batches.openai_shapes import (
    read_batch,
    show_batch,
    show_list,
)
from api.services.batches.paging import Window
from api.services.clients.client_keys import ClientKey
from api.services.gateway.asked import read_body

router = APIRouter(route_class=GatewayRoute, include_in_schema=False)

_PAGE, _LARGEST_PAGE = 20, 100


@router.post("/v1/batches", response_model=None)
async def create_batch(request: Request, client: ClientKey) -> Response:
    """Begin a batch."""
    async with bodies_of(request).body_of(request) as body:
        asked = read_batch(read_body(body))
    source = await _input_file(request, client, asked.input_file_id)
    batch = await get_services(request).batches.create(
        client.client_id,
        NewBatch(
            Vendor.OPENAI,
            asked.interface,
            source,
            asked.metadata,
            asked.output_seconds,
            headers_of_interface(request),
        ),
        key_of(request),
    )
    return JSONResponse(show_batch(batch))


@router.get("/v1/batches", response_model=None)
async def list_batches(request: Request, client: ClientKey) -> Response:
    """List the client's batches."""
    query = request.query_params
    window = Window(
        limit_of(query.get("limit"), _PAGE, _LARGEST_PAGE),
        after=query.get("after") or None,
    )
    batches = get_services(request).batches
    found = await batches.page(client.client_id, Vendor.OPENAI, window)
    rows = [show_batch(each) for each in found.items]
    return JSONResponse(show_list(found, rows))


@router.get("/v1/batches/{batch_id}", response_model=None)  # noqa: FAST003 - no FastAPI parameters here
async def get_batch(request: Request, client: ClientKey) -> Response:
    """Tell how far a batch is."""
    batch = await get_services(request).batches.get(
        client.client_id, Vendor.OPENAI, request.path_params["batch_id"]
    )
    return JSONResponse(show_batch(batch))


@router.post("/v1/batches/{batch_id}/cancel", response_model=None)  # noqa: FAST003 - as above
async def cancel_batch(request: Request, client: ClientKey) -> Response:
    """Have a batch end soon."""
    batch = await get_services(request).batches.cancel(
        client.client_id, Vendor.OPENAI, request.path_params["batch_id"]
    )
    return JSONResponse(show_batch(batch))


async def _input_file(
    request: Request, client: ClientKey, file_id: str
) -> FileRecord:
    """Return the file that a batch is to read.

    Raises:
        ParameterError: there is none, or it is for something else.
    """
    name = "input_file_id"
    try:
        found = await get_services(request).files.get(
            client.client_id, file_id
        )
    except NotFoundError as error:
        raise ParameterError(str(error), name) from None
    if found.purpose is not FilePurpose.BATCH:
        raise ParameterError(
            f"The file has the purpose '{found.purpose}'; it must be 'batch'",
            name,
        )
    return found
