"""`/v1/models`: the models that requests may name.

Both vendors list their models under this path; the header
`anthropic-version` tells whose library asks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.core.dialects import ANTHROPIC, dialect_of
from api.core.errors import ParameterError
from api.dependencies.services import get_services
from api.models.model_models import Model
from api.models.route_models import Route
from api.routers.gateway_route import GatewayRoute
from api.services.clients.client_keys import ClientKey

_PAGE, _LARGEST_PAGE = 20, 1000
# Routes belong to no vendor.
_OURS = "metasync"

router = APIRouter(route_class=GatewayRoute, include_in_schema=False)


@router.get("/v1/models", response_model=None)
async def list_gateway_models(request: Request, client: ClientKey) -> Response:
    """List the models."""
    del client
    gateway = get_services(request).gateway
    models: list[Model | Route] = [
        *await gateway.models(),
        *gateway.routes(),
    ]
    if dialect_of(request.scope) is ANTHROPIC:
        return JSONResponse(_page(models, request.query_params))
    data = [_of_openai(each) for each in models]
    return JSONResponse({"object": "list", "data": data})


@router.get("/v1/models/{name:path}", response_model=None)  # noqa: FAST003 - no FastAPI parameters here
async def get_gateway_model(request: Request, client: ClientKey) -> Response:
    """Return one model."""
    del client
    name = request.path_params["name"]
    model = await get_services(request).gateway.named(name)
    if dialect_of(request.scope) is ANTHROPIC:
        return JSONResponse(_of_anthropic(model))
    return JSONResponse(_of_openai(model))


def _of_openai(model: Model | Route) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": int(model.metadata.created_at.timestamp()),
        "owned_by": model.sdk if isinstance(model, Model) else _OURS,
    }


def _of_anthropic(model: Model | Route) -> dict[str, Any]:
    created = model.metadata.created_at.isoformat(timespec="seconds")
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": created.replace("+00:00", "Z"),
    }


def _page(
    models: Sequence[Model | Route], query: Mapping[str, str]
) -> dict[str, Any]:
    """Give the part of the list between `after_id` and `before_id`."""
    rows = [_of_anthropic(each) for each in models]
    places = {row["id"]: place for place, row in enumerate(rows)}
    limit = _limit(query.get("limit"))
    start, end = 0, len(rows)
    if (after := query.get("after_id")) in places:
        start = places[after] + 1
    if (before := query.get("before_id")) in places:
        end = places[before]
        start = max(start, end - limit)
        has_more = start > 0
    else:
        has_more = start + limit < end
    shown = rows[start : min(end, start + limit)]
    return {
        "data": shown,
        "has_more": has_more,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return _PAGE
    is_number = text.isascii() and text.isdecimal() and len(text) <= 4  # noqa: PLR2004 - digits
    if not is_number or not 1 <= int(text) <= _LARGEST_PAGE:
        raise ParameterError(f"must be 1 to {_LARGEST_PAGE}", "limit")
    return int(text)
