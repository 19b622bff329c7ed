"""What `/docs` says beyond paths and bodies, in one place.

FastAPI derives paths, parameters and bodies from the routers. What holds
for many paths alike is added to that here: who may call, the errors that
any such path can answer, the headers of the answers.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from api.core import scrape_access
from api.core.problems import SCHEMAS, merged, problem

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Access:
    """Whom a path lets through, and how it refuses others.

    `security` lists the alternatives, each a set of schemes that must all
    be there.
    """

    security: Sequence[Sequence[str]]
    refusals: Sequence[str]
    needs_database: bool = True
    # Whether clients' requests are counted.
    is_limited: bool = True
    # Whether the policy is asked about whoever has signed in.
    by_roles: bool = False


_ADMIN, _CLIENT, _KEY = "adminApiKey", "clientId", "clientApiKey"
_METRICS, _SIGNED_IN = "metricsToken", "signedIn"
_WRONG_CLIENT = "Invalid client credentials"
_WRONG_ADMIN = "Invalid admin API key"
_WRONG_BEARER = "Invalid bearer token"
_BY_ROLES = "Your roles do not allow this; the Admin API key does"
_NO_KEY = "Client API key is required"
_NOBODY = (
    "Client authentication (Client ID and API key) or admin API key is "
    "required"
)

BY_ADMIN = Access(
    [[_ADMIN], [_SIGNED_IN]],
    ["Admin API key is required", _WRONG_ADMIN, _WRONG_BEARER],
    is_limited=False,
    by_roles=True,
)
BY_CLIENT = Access(
    [[_CLIENT, _KEY], [_ADMIN, _CLIENT], [_SIGNED_IN], [_SIGNED_IN, _CLIENT]],
    [
        "Client ID is required",
        _NO_KEY,
        _WRONG_CLIENT,
        _WRONG_ADMIN,
        _WRONG_BEARER,
    ],
    by_roles=True,
)
BY_ANYONE_KNOWN = Access(
    [
        [_CLIENT, _KEY],
        [_ADMIN],
        [_ADMIN, _CLIENT],
        [_SIGNED_IN],
        [_SIGNED_IN, _CLIENT],
    ],
    [
        _NOBODY,
        _NO_KEY,
        _WRONG_CLIENT,
        _WRONG_ADMIN,
        _WRONG_BEARER,
    ],
    by_roles=True,
)
# The policy is not asked.
BY_ANYBODY = replace(BY_ANYONE_KNOWN, by_roles=False)
BY_PERSON = Access(
    [[_ADMIN], [_SIGNED_IN]],
    [_NOBODY, _WRONG_ADMIN, _WRONG_BEARER],
    is_limited=False,
    by_roles=True,
)
BY_SCRAPER = Access(
    [[_METRICS], [_ADMIN]],
    [scrape_access.NEEDED, scrape_access.WRONG_TOKEN, _WRONG_ADMIN],
    needs_database=False,
    is_limited=False,
)
# What asks, before it runs, who is calling, and whom it lets through.
Guards = Mapping[Callable[..., Any], Access]

_SCHEMES = {
    _CLIENT: ("client_id", "A client's id, a UUID."),
    _KEY: ("client_api_key", "The client's key, 64 hex digits."),
    _ADMIN: (
        "admin_api_key",
        "The administrator's key. With `client_id`, for that client.",
    ),
}
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "`METRICS_TOKEN`, for Prometheus. No credential is needed "
    "if `METRICS_PUBLIC` is set.",
}
_TOKEN_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A JWT of the identity provider, or a token of "
    "`POST /tokens`. With `client_id`, for that client.",
}
_HYPHENS = (
    " `{}` is accepted too, for proxies that drop names with underscores."
)

# A tag, what one of its things is called, and what they are.
_TAGS = (
    (
        "clients",
        "Client",
        "Callers that may submit work. Only for the administrator.",
    ),
    ("models", "Model", "How to reach an LLM, and its price."),
    ("routes", "Route", "One name for several models."),
    ("prompts", "Prompt", "Versioned texts of a client, and public ones."),
    ("prompt flows", "Prompt flow", "Named sequences of prompts."),
    ("jobs", "Job", "LLM work that workers take from a queue."),
    ("runs", "Run", "Metaprompting loops that improve a prompt."),
    ("datasets", "Dataset", "Inputs, with what is expected of answers."),
    (
        "evaluations",
        "Evaluation",
        "Prompts and models, measured on a dataset.",
    ),
    ("streams", "Stream", "One prompt, answered while the model writes."),
    ("usage", "Usage", "What calls have used and cost."),
    ("workers", "Worker", "Threads that run a client's jobs."),
    (
        "webhooks",
        "Webhook",
        "Receivers that are told when jobs and runs end.",
    ),
    ("sign-in", "Session", "Sign in and out with a browser."),
    ("tokens", "Token", "Access tokens of people and services."),
    (
        "audit",
        "Entry",
        "Who has changed what, and what was refused.",
    ),
    (
        "health",
        "Probe",
        "Checks and metrics for load balancers, people and Prometheus.",
    ),
)
# Where a path's description may have schemas for the components.
SCHEMAS_OF_BODY = "x-schemas"
_NOUNS = {tag: noun for tag, noun, _ in _TAGS}

_DESCRIPTION = """
Metasync accepts LLM work over REST, stores it in MongoDB, runs it on a pool
of workers, and improves prompts in loops that run on the same queue.

**Authentication**: the headers `client_id` and `client_api_key`, or
`admin_api_key`. Every credential that is sent must be valid. Objects of other
clients are answered like objects that do not exist. Without these, whoever
has signed in, or sends a bearer token, may do what the roles allow.

**Unknown** fields and query parameters are refused: 422, with the nearest
known name. Free-form objects, such as `requestData`, may have any names.

**Lists** are returned in pages: send the `X-Next-Cursor` header of a page as
`cursor` to get the next page; the last page has no such header.

**Deletion** is soft: deleted objects stay in the database, and are never
listed, found, claimed or counted. **Times** are ISO 8601 in UTC.
"""
_HEADERS = {
    "X-Correlation-ID": (
        "The id sent with the request, otherwise a new one; it is on every "
        "log line of the request."
    ),
    "X-Next-Cursor": "The `cursor` of the next page; the last page has none.",
    "X-RateLimit-Limit": (
        "Requests that the client may send in each minute. No header if it "
        "has no limit; the same for the two below."
    ),
    "X-RateLimit-Remaining": "Requests that are left in this minute.",
    "X-RateLimit-Reset": "Seconds to the next minute.",
    "X-Stream-Id": "The id of the stream's record.",
    "X-Metasync-Model": "The name of the model that answered.",
}
_QUOTA = [name for name in _HEADERS if name.startswith("X-RateLimit-")]
_NO_REQUEST = "Invalid HTTP request received."
_TOO_LARGE = "The limit is 33554432 bytes a request"
_TOO_MANY_REQUESTS = "This client may send 600 requests a minute"
_TOO_MANY_LOGINS = "Too many failed logins from this address; try again later"
_BAD_CURSOR = (
    "The cursor is not valid; use the X-Next-Cursor header of the previous "
    "page"
)
_NO_DATABASE = (
    "The database cannot be reached; try again. Work that was acknowledged "
    "is stored."
)


def install_openapi(app: FastAPI, guards: Guards) -> None:
    """Make the application describe itself whole; call it last."""
    derived = app.openapi
    app.description = _DESCRIPTION.strip()
    app.openapi_tags = [
        {"name": tag, "description": text} for tag, _, text in _TAGS
    ]

    @functools.cache
    def described() -> Json:
        return _completed(copy.deepcopy(derived()), _accesses(app, guards))

    app.openapi = described  # type: ignore[method-assign]


def _accesses(app: FastAPI, guards: Guards) -> dict[tuple[str, str], Access]:
    """Find each path's guard among what the path depends on."""
    return {
        (str(route.path_format), method.lower()): guards[call]
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute)
        for call in _calls(route.dependant)
        if call in guards
        for method in route.methods or ()
    }


def _calls(dependant: Any) -> Iterator[Callable[..., Any]]:  # noqa: ANN401 - FastAPI's own
    for child in dependant.dependencies:
        yield child.call
        yield from _calls(child)


def _completed(
    document: Json, accesses: Mapping[tuple[str, str], Access]
) -> Json:
    components = document["components"]
    schemas = components["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas.update(SCHEMAS)
    components["securitySchemes"] = {
        name: {
            "type": "apiKey",
            "in": "header",
            "name": header,
            "description": text + _HYPHENS.format(header.replace("_", "-")),
        }
        for name, (header, text) in _SCHEMES.items()
    } | {_METRICS: _BEARER, _SIGNED_IN: _TOKEN_SCHEME}
    components["headers"] = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in _HEADERS.items()
    }
    for path, item in document["paths"].items():
        for method, operation in item.items():
            # Of bodies that a path reads itself.
            schemas.update(operation.pop(SCHEMAS_OF_BODY, {}))
            _complete(operation, accesses.get((path, method)))
    _drop_titles(document)
    return document


def _complete(operation: Json, access: Access | None) -> None:
    parameters = _own_parameters(operation)
    operation.pop("parameters", None)
    if parameters:
        operation["parameters"] = parameters
    noun = _NOUNS[operation["tags"][0]]
    for parameter in parameters:
        if parameter["in"] == "path":
            parameter["description"] = f"The {noun.lower()}'s id."
    if access is not None:
        operation["security"] = [
            {scheme: [] for scheme in schemes} for schemes in access.security
        ]
        _add_errors(operation, access, noun)
    _add_headers(operation, is_limited=bool(access and access.is_limited))


def _own_parameters(operation: Json) -> list[Json]:
    """Leave out the credentials: the security schemes stand for them."""
    credentials = {header for header, _ in _SCHEMES.values()}
    return [
        parameter
        for parameter in operation.get("parameters", ())
        if parameter["in"] != "header" or parameter["name"] not in credentials
    ]


def _add_errors(operation: Json, access: Access, noun: str) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    for status, details in _common_errors(operation, access, noun).items():
        common, own = problem(status, *details), responses.get(str(status))
        responses[str(status)] = merged(own, common) if own else common
    operation["responses"] = dict(sorted(responses.items()))


def _common_errors(
    operation: Json, access: Access, noun: str
) -> dict[int, Sequence[str]]:
    parameters = operation.get("parameters", ())
    has_body = "requestBody" in operation
    errors: dict[int, Sequence[str]] = {401: access.refusals}
    if access.by_roles:
        errors[403] = [_BY_ROLES]
    if has_body:
        errors |= {400: [_NO_REQUEST], 413: [_TOO_LARGE]}
    if any(parameter["name"] == "cursor" for parameter in parameters):
        errors[400] = [_BAD_CURSOR]
    if any(parameter["in"] == "path" for parameter in parameters):
        errors[404] = [f"{noun} not found"]
    if has_body or any(each["in"] != "path" for each in parameters):
        errors[422] = []
    errors[429] = [_TOO_MANY_LOGINS]
    if access.is_limited:
        errors[429] = [_TOO_MANY_REQUESTS, _TOO_MANY_LOGINS]
    return errors | ({503: [_NO_DATABASE]} if access.needs_database else {})


def _add_headers(operation: Json, *, is_limited: bool) -> None:
    paged = any(
        parameter["name"] == "cursor"
        for parameter in operation.get("parameters", ())
    )
    for status, response in operation["responses"].items():
        headers = response.setdefault("headers", {})
        headers["X-Correlation-ID"] = _reference("X-Correlation-ID")
        if is_limited and (status.startswith("2") or status == "429"):
            for name in _QUOTA:
                headers[name] = _reference(name)
        if paged and status.startswith("2"):
            headers["X-Next-Cursor"] = _reference("X-Next-Cursor")


def _reference(header: str) -> Json:
    return {"$ref": f"#/components/headers/{header}"}


def _drop_titles(document: Json) -> None:
    # Derived from the names, they only repeat them with a capital.
    for schema in document["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            field.pop("title", None)
    for item in document["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"].pop("title", None)
