"""From an exception to an HTTP answer, in one place."""

from typing import Any

import structlog
from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts

from api.core import errors
from api.core.dialects import Problem, dialect_of
from utilities.cosmos_connector import StoreError, is_unavailable

RETRY_AFTER_SECONDS = 2
_NONE, _INVALID, _TOO_MANY = 404, 422, 429
# The header that names a stream's record.
STREAM_ID = "X-Stream-Id"
# Which model has answered.
MODEL_NAME = "X-Metasync-Model"

_STATUS_OF: dict[type[errors.MetasyncError], int] = {
    errors.RuleError: 400,
    errors.AuthenticationError: 401,
    errors.ForbiddenError: 403,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.TooLargeError: 413,
    errors.OverloadedError: 503,
}
_RETRY = {"Retry-After": str(RETRY_AFTER_SECONDS)}

log = structlog.get_logger(__name__)


def install_error_responses(app: FastAPI) -> None:
    """Register every handler on the application."""
    app.add_exception_handler(errors.MetasyncError, _domain_error)
    app.add_exception_handler(errors.TooManyRequestsError, _too_many)
    app.add_exception_handler(errors.ProviderFailedError, _provider_failed)
    app.add_exception_handler(errors.InvalidRequestError, _invalid_part)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(StoreError, _database_error)
    app.add_exception_handler(404, _no_such_path)
    app.add_exception_handler(405, _wrong_method)


def _answer(
    request: Request,
    status: int,
    detail: object,
    headers: dict[str, str] | None = None,
    param: str | None = None,
) -> JSONResponse:
    """Give an error in the words of whoever asks."""
    dialect = dialect_of(request.scope)
    if dialect is None:
        return JSONResponse({"detail": detail}, status, headers)
    code = "model_not_found" if param == "model" and status == _NONE else None
    problem = Problem(status, str(detail), code, param)
    request_id = correlation_id.get() or ""
    return JSONResponse(
        dialect.body(problem, request_id),
        dialect.status(problem),
        {dialect.request_id_header: request_id, **(headers or {})},
    )


def status_of(error: errors.MetasyncError) -> int:
    """Return the status that stands for an error."""
    if isinstance(error, errors.TooManyRequestsError):
        return _TOO_MANY
    if isinstance(error, errors.InvalidRequestError):
        return _INVALID
    return next(
        (
            status
            for kind, status in _STATUS_OF.items()
            if isinstance(error, kind)
        ),
        500,
    )


async def _domain_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.MetasyncError)  # noqa: S101 - as below
    status = status_of(error)
    again = isinstance(error, errors.OverloadedError)
    param = getattr(error, "param", None)
    return _answer(
        request, status, str(error), _RETRY if again else None, param
    )


async def _too_many(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.TooManyRequestsError)  # noqa: S101 - as below
    if isinstance(error, errors.TooManyFailedLoginsError):
        request.state.login_failed = True
    wait = str(error.retry_after)
    return _answer(request, 429, str(error), {"Retry-After": wait})


async def _provider_failed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.ProviderFailedError)  # noqa: S101 - as above
    return _answer(request, 502, str(error), {STREAM_ID: error.stream_id})


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type only
    return _answer(request, 422, [_problem(item) for item in error.errors()])


async def _invalid_part(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.InvalidRequestError)  # noqa: S101 - as above
    problem = {"type": error.kind, "loc": error.location, "msg": str(error)}
    return _answer(request, 422, [_problem(problem)])


def _problem(item: dict[str, Any]) -> dict[str, Any]:
    # `input` is left out: it may be megabytes, and what a client sent by
    # mistake may be a secret.
    return {
        "type": item["type"],
        "loc": [_printable(part) for part in item["loc"]],
        "msg": _printable(item["msg"]),
    }


def _printable(part: object) -> object:
    if not isinstance(part, str):
        return part
    return part.encode(errors="replace").decode()[:1000]


async def _no_such_path(request: Request, error: Exception) -> JSONResponse:
    detail = str(getattr(error, "detail", "Not Found"))
    if dialect_of(request.scope) is not None:
        detail = f"Unknown request URL: {request.method} {request.url.path}"
    return _answer(request, _NONE, detail)


async def _wrong_method(request: Request, _error: Exception) -> JSONResponse:
    # Each route knows its own methods only; `Allow` must name the path's.
    path = request.url.path
    matching = [
        route
        for route in iter_route_contexts(request.app.routes)
        if route.path_regex.match(path)
    ]
    # `/jobs/batch` is not a job that happens to be called so.
    named = [route for route in matching if route.path_format == path]
    methods = {m for route in named or matching for m in route.methods or ()}
    allow = ", ".join(sorted(methods))
    return _answer(request, 405, "Method Not Allowed", {"Allow": allow})


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    log.warning(
        "database_error",
        error=type(error).__name__,
        method=request.method,
        path=request.url.path,
    )
    if is_unavailable(error):
        return _answer(
            request,
            503,
            "The database cannot be reached; try again. Work that was "
            "acknowledged is stored.",
            _RETRY,
        )
    return _answer(request, 500, "The database refused the operation")


async def unexpected_error(request: Request, error: Exception) -> JSONResponse:
    """Log an unexpected error; answer without its details."""
    log.error(
        "unexpected_error",
        method=request.method,
        path=request.url.path,
        exc_info=error,
    )
    return _answer(request, 500, "Internal server error")
