"""What every path of a resource has in common, before its own code runs.

In this order: who is calling (401), unknown query parameters
(422), the body's size (413, 503), the body itself (400, 422).
"""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast, get_args

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from api.core.request_body import RequestBodies
from api.core.unknown_fields import MOST_PROBLEMS, problem_of_parameter
from api.dependencies.callers import (
    BEFORE_BODY,
    check_before_body,
    refuse_contradictions,
)
from api.routers.reference_query import reference_query
from api.services.shared.client_reference import QUERY_PREFIX

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_HUNG_UP = 400


class ResourceRoute(APIRoute):
    """A path whose callers are known and whose input is strict."""

    def get_route_handler(self) -> _Handler:
        """Give what answers a request."""
        answer = super().get_route_handler()
        calls = [each.call for each in _each(self.dependant)]
        guards = [guard for guard in BEFORE_BODY if guard in calls]
        parameters = frozenset(
            parameter.alias
            for each in _each(self.dependant)
            for parameter in each.query_params
        )
        has_reference = reference_query in calls
        model = _model_of(self)

        async def handle(request: Request) -> Response:
            if guards:
                refuse_contradictions(request.headers)
            bodies = bodies_of(request)
            unknown = []
            if bodies.limits.unknown == "refuse":
                unknown = _unknown(
                    request, parameters, has_reference=has_reference
                )
            if unknown or model is not None:
                await check_before_body(request, guards)
            if unknown:
                raise RequestValidationError(unknown)
            if model is None:
                return await answer(request)
            return await _with_body(request, bodies, model, answer)

        return handle


def bodies_of(request: Request) -> RequestBodies:
    """Return what reads this application's bodies."""
    return cast("RequestBodies", request.app.state.bodies)


class _ReadRequest(Request):
    """A request whose body has been read, checked and made into a model.

    FastAPI asks it for the bytes, only to see whether there are any, and
    then for the JSON value; a model that is made already passes its own
    check as it is.
    """

    def __init__(self, request: Request, *, is_empty: bool) -> None:
        super().__init__(request.scope, request.receive)
        self._is_empty = is_empty
        self.value: BaseModel | None = None

    async def body(self) -> bytes:
        return b"" if self._is_empty else b"read"

    async def json(self) -> Any:  # noqa: ANN401 - Starlette's signature
        return self.value


async def _with_body(
    request: Request,
    bodies: RequestBodies,
    model: type[BaseModel],
    answer: _Handler,
) -> Response:
    try:
        async with bodies.body_of(request) as body:
            read = _ReadRequest(request, is_empty=not body)
            if body and _is_json(request.headers.get("content-type", "")):
                read.value = await bodies.parse(model, body)
            body.clear()
            return await answer(read)
    except ClientDisconnect:
        # The client has gone and cannot read it.
        return Response(status_code=_HUNG_UP)


def _unknown(
    request: Request, known: frozenset[str], *, has_reference: bool
) -> list[dict[str, Any]]:
    if not request.scope["query_string"]:
        return []
    unknown = [
        name
        for name in request.query_params
        if name not in known
        and not (has_reference and name.startswith(QUERY_PREFIX))
    ]
    return [
        problem_of_parameter(name, known) for name in unknown[:MOST_PROBLEMS]
    ]


def _each(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for child in dependant.dependencies:
        yield from _each(child)


def _model_of(route: APIRoute) -> type[BaseModel] | None:
    if route.body_field is None:
        return None
    kind = route.body_field.field_info.annotation
    # Of several kinds, the first one tells them apart.
    return cast("type[BaseModel]", next(iter(get_args(kind)), kind))


def _is_json(content_type: str) -> bool:
    # As FastAPI decides it.
    kind, slash, subtype = (
        content_type.partition(";")[0].strip().lower().partition("/")
    )
    is_type = bool(slash) and kind == "application" and "/" not in subtype
    return is_type and (subtype == "json" or subtype.endswith("+json"))
