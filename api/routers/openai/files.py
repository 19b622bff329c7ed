"""`/v1/files`: what batches read and write.

A file is stored while it comes in; no part of it but a piece of 1 MiB is in
memory.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from api.core.errors import ParameterError
from api.core.multipart import FileBegun, FormField, read_form
from api.dependencies.services import Services, get_services
from api.models.batch_models import FilePurpose, FileRecord
from api.routers.batch_requests import bounded, is_newest_first, limit_of
from api.routers.gateway_route import HUNG_UP, GatewayRoute
from api.services.batches.file_service import (
    DEFAULT_SECONDS,
    FileService,
    NewFile,
    shown_id,
)
from api.services.batches.openai_shapes import (
    read_life,
    show_file,
    show_list,
)
from api.services.batches.paging import Window
from api.services.clients.client_keys import ClientKey

router = APIRouter(route_class=GatewayRoute, include_in_schema=False)

_MOST_LISTED = 10_000
# What a form has beside its file.
_MOST_AROUND = 1024 * 1024
_PURPOSES = (
    "assistants",
    "batch",
    "batch_output",
    "evals",
    "fine-tune",
    "fine-tune-results",
    "user_data",
    "vision",
)


@router.post("/v1/files", response_model=None)
async def create_file(request: Request, client: ClientKey) -> Response:
    """Store a file."""
    services = get_services(request)
    upload = _Upload(services.files, client.client_id, services.max_file_bytes)
    is_kept = False
    try:
        with services.files.uploading():
            record = await upload.receive(request)
        is_kept = True
        return JSONResponse(show_file(record))
    except ClientDisconnect:
        # The client has gone and cannot read it.
        return Response(status_code=HUNG_UP)
    finally:
        if not is_kept:
            await upload.discard()


@router.get("/v1/files", response_model=None)
async def list_files(request: Request, client: ClientKey) -> Response:
    """List the client's files."""
    query = request.query_params
    window = Window(
        limit_of(query.get("limit"), _MOST_LISTED, _MOST_LISTED),
        after=query.get("after") or None,
        newest_first=is_newest_first(query.get("order")),
    )
    files = get_services(request).files
    found = await files.page(
        client.client_id, window, query.get("purpose") or None
    )
    return JSONResponse(show_list(found, [show_file(f) for f in found.items]))


@router.get("/v1/files/{file_id}", response_model=None)  # noqa: FAST003 - no FastAPI parameters here
async def get_file(request: Request, client: ClientKey) -> Response:
    """Describe one file."""
    return JSONResponse(show_file(await _file(request, client)))


@router.delete("/v1/files/{file_id}", response_model=None)  # noqa: FAST003 - as above
async def delete_file(request: Request, client: ClientKey) -> Response:
    """Delete one file."""
    record = await _file(request, client)
    await get_services(request).files.hide(record.file_id)
    return JSONResponse(
        {"id": shown_id(record.file_id), "object": "file", "deleted": True}
    )


@router.get("/v1/files/{file_id}/content", response_model=None)  # noqa: FAST003 - as above
async def get_file_content(request: Request, client: ClientKey) -> Response:
    """Give a file as it came."""
    record = await _file(request, client)
    return content_of(get_services(request), record)


def content_of(
    services: Services,
    record: FileRecord,
    media_type: str = "application/octet-stream",
) -> Response:
    """Give a file's content, piece by piece."""
    return StreamingResponse(
        services.files.content(record),
        media_type=media_type,
        headers={"content-length": str(record.size)},
    )


async def _file(request: Request, client: ClientKey) -> FileRecord:
    files = get_services(request).files
    return await files.get(client.client_id, request.path_params["file_id"])


@dataclass
class _Upload:
    """A form with a file in it, on its way into the store."""

    files: FileService
    client_id: str
    most_bytes: int
    _new: NewFile | None = None
    _fields: dict[str, str] = field(default_factory=dict)

    async def receive(self, request: Request) -> FileRecord:
        """Take the form in.

        Raises:
            ParameterError: a field is missing or wrong.
            TooLargeError: the file is larger than one may be.
        """
        kind = request.headers.get("content-type", "")
        most = self.most_bytes + _MOST_AROUND
        await self._read(kind, bounded(request.stream(), most))
        if self._new is None:
            raise ParameterError("Missing required parameter: 'file'.", "file")
        seconds = self._seconds()
        _check_purpose(self._fields.get("purpose"))
        if not self._new.writer.size:
            raise ParameterError("The file is empty", "file")
        made = int(self._new.record["madeAt"])
        return await self.files.finish(self._new, made + seconds * 1000)

    async def discard(self) -> None:
        """Remove what was stored of a file that is not wanted."""
        if self._new is not None:
            await self.files.discard(self._new.file_id)

    async def _read(self, kind: str, body: AsyncIterator[bytes]) -> None:
        async for part in read_form(kind, body):
            if isinstance(part, FormField):
                self._fields[part.name] = part.value
                if part.name == "purpose":
                    # Before all of the file has come, if it is to follow.
                    _check_purpose(part.value)
            elif isinstance(part, FileBegun):
                await self._begin(part)
            elif self._new is not None:
                await self._new.add(part)

    async def _begin(self, part: FileBegun) -> None:
        if part.name != "file" or self._new is not None:
            raise ParameterError("A form has one file: `file`", "file")
        self._new = await self.files.begin(
            self.client_id, part.filename, most_bytes=self.most_bytes
        )

    def _seconds(self) -> int:
        name = "expires_after"
        given = {
            key: self._fields[f"{name}[{key}]"]
            for key in ("anchor", "seconds")
            if f"{name}[{key}]" in self._fields
        }
        return read_life(given, name) if given else DEFAULT_SECONDS


def _check_purpose(purpose: str | None) -> None:
    if purpose is None:
        raise ParameterError(
            "Missing required parameter: 'purpose'.", "purpose"
        )
    if purpose not in _PURPOSES:
        raise ParameterError(
            f"'{purpose[:64]}' is not one of {list(_PURPOSES)} - 'purpose'",
            "purpose",
        )
    if purpose != FilePurpose.BATCH:
        raise ParameterError(
            f"Files with the purpose '{purpose}' are not kept here; only "
            "'batch' is",
            "purpose",
        )
