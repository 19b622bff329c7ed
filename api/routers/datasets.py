"""`/datasets`: inputs with what is expected of their answers."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.requests import ClientDisconnect

from api.core.errors import RuleError
from api.core.openapi import SCHEMAS_OF_BODY
from api.core.problems import overtaken, problems
from api.dependencies.callers import AnyCaller, ClientCaller
from api.dependencies.services import Datasets, Uploads
from api.models.base import Name
from api.models.dataset_models import (
    Dataset,
    DatasetColumns,
    DatasetCreate,
    DatasetItem,
    SplitFractions,
    SplitName,
)
from api.models.evaluation_models import Seed
from api.routers.pages import PageQuery, answer, long_list
from api.routers.resource_route import ResourceRoute, bodies_of
from api.services.datasets.files import CONTENT_TYPES, FileKind

router = APIRouter(
    prefix="/datasets", tags=["datasets"], route_class=ResourceRoute
)
_REFUSED = {
    400: [
        "There are no items",
        "item 3: the id 'a' is used twice",
        "A dataset has at most 100000 items",
    ],
    413: ["The limit is 268435456 bytes a dataset"],
}
_CHANGED = overtaken("Dataset")
_EXAMPLES = {
    FileKind.JSONL: '{"text": "I love it.", "expected": "positive"}\n',
    FileKind.CSV: "text,expected\nI love it.,positive\n",
    FileKind.PARQUET: "(a file)",
}


def _described() -> dict[str, Any]:
    schema = DatasetCreate.model_json_schema(
        ref_template="#/components/schemas/{model}"
    )
    schemas = {**schema.pop("$defs"), "DatasetCreate": schema}
    reference = {"$ref": "#/components/schemas/DatasetCreate"}
    content: dict[str, Any] = {"application/json": {"schema": reference}}
    content |= {
        media_type: {
            "schema": {"type": "string", "format": "binary"},
            "example": _EXAMPLES[kind],
        }
        for media_type, kind in CONTENT_TYPES.items()
    }
    return {
        "requestBody": {"required": True, "content": content},
        SCHEMAS_OF_BODY: schemas,
    }


def file_columns(
    input_columns: Annotated[
        str | None,
        Query(
            alias="inputColumns",
            max_length=4096,
            description="Of a file: the columns that make `requestData`, "
            "with commas between them; by default all but the two below.",
        ),
    ] = None,
    expected_column: Annotated[
        Name | None,
        Query(
            alias="expectedColumn",
            description="Of a file: by default `expected`, if it is there.",
        ),
    ] = None,
    id_column: Annotated[
        Name | None,
        Query(
            alias="idColumn",
            description="Of a file: by default `id`, if it is there.",
        ),
    ] = None,
) -> DatasetColumns:
    """Read the query string."""
    names = [] if input_columns is None else input_columns.split(",")
    given = tuple(name.strip() for name in names if name.strip())
    return DatasetColumns(
        input=given or None, expected=expected_column, id=id_column
    )


@router.post(
    "",
    status_code=201,
    responses=problems(_REFUSED),
    openapi_extra=_described(),
)
async def create_dataset(
    request: Request,
    datasets: Datasets,
    uploads: Uploads,
    caller: ClientCaller,
    columns: Annotated[DatasetColumns, Depends(file_columns)],
    name: Annotated[
        Name | None, Query(description="Of a file's dataset; it needs one.")
    ] = None,
) -> Dataset:
    """Store items, sent as JSON or as a file, or those of finished jobs.

    In JSON Lines, a line is an item, as in JSON, or an object whose fields
    are columns. The first line of CSV names the columns.
    """
    kind = _kind_of(request)
    if kind is not None:
        if name is None:
            raise _missing("query", "name")
        body = request.stream()
        try:
            return await uploads.create(name, kind, columns, body, caller)
        except ClientDisconnect:
            # The client has gone and cannot read it.
            raise RuleError("The file did not arrive whole") from None
    return await datasets.create(await _json_of(request), caller)


def _kind_of(request: Request) -> FileKind | None:
    """Give the kind of file that is sent; None for JSON.

    Raises:
        RequestValidationError: it is neither.
    """
    given = request.headers.get("content-type", "")
    media_type = given.partition(";")[0].strip().lower()
    if media_type in ("", "application/json"):
        return None
    if media_type not in CONTENT_TYPES:
        known = ", ".join(["application/json", *CONTENT_TYPES])
        raise RequestValidationError(
            [
                {
                    "type": "content_type",
                    "loc": ("header", "Content-Type"),
                    "msg": f"must be one of: {known}",
                }
            ]
        )
    return CONTENT_TYPES[media_type]


async def _json_of(request: Request) -> DatasetCreate:
    bodies = bodies_of(request)
    async with bodies.body_of(request) as body:
        if not body:
            raise _missing("body")
        return await bodies.parse(DatasetCreate, body)


def _missing(*where: str) -> RequestValidationError:
    return RequestValidationError(
        [{"type": "missing", "loc": where, "msg": "Field required"}]
    )


@router.get("")
async def list_datasets(
    datasets: Datasets,
    caller: AnyCaller,
    page: PageQuery,
    response: Response,
    name: str | None = None,
) -> Sequence[Dataset]:
    """List datasets in order of their creation."""
    return answer(await datasets.page(caller, name, page), response)


@router.get("/{dataset_id}")
async def get_dataset(
    dataset_id: str, datasets: Datasets, caller: AnyCaller
) -> Dataset:
    """Return a dataset, without its items."""
    return await datasets.get(dataset_id, caller)


@router.get("/{dataset_id}/items", response_model=Sequence[DatasetItem])
async def list_dataset_items(
    dataset_id: str,
    datasets: Datasets,
    caller: AnyCaller,
    page: PageQuery,
    split: Annotated[
        SplitName, Query(description="The items of one side of a split.")
    ] = SplitName.ALL,
    seed: Annotated[Seed, Query(description="Of the split.")] = 0,
    train: Annotated[float, Query(ge=0, le=1)] = 0.5,
    validation: Annotated[float, Query(ge=0, le=1)] = 0.25,
) -> Response:
    """List items in their order; `test` has what the two others leave."""
    if train + validation > 1:
        raise RequestValidationError(
            [
                {
                    "type": "fractions",
                    "loc": ("query", "validation"),
                    "msg": "train and validation must not be more than 1",
                }
            ]
        )
    fractions = SplitFractions(
        train=train,
        validation=validation,
        test=max(1 - train - validation, 0.0),
    )
    dataset = await datasets.get(dataset_id, caller)
    positions = await datasets.positions(dataset, split, seed, fractions)
    found = await datasets.page_of_items(dataset, positions, page)
    listed = await long_list(found.items)
    answer(found, listed)
    return listed


@router.delete("/{dataset_id}", status_code=204, responses=problems(_CHANGED))
async def delete_dataset(
    dataset_id: str, datasets: Datasets, caller: AnyCaller
) -> None:
    """Delete a dataset and, for good, its items; evaluations stay."""
    await datasets.delete(dataset_id, caller)
