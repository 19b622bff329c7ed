"""What all applications and clients of a test process share.

A test run makes hundreds of them, and each would take a fifth of a second.
"""

import os
import ssl
from typing import Any
from unittest.mock import patch

import certifi
from fastapi import FastAPI
from fastapi.routing import APIRoute, _EffectiveRouteContext
from httpcore2 import _ssl

from api import application


def share_routes() -> None:
    """Build each route of ours once, not anew for every application.

    FastAPI does so at an application's first request. The routes of ours
    are modules' and know their application by the request only.
    """
    build = _EffectiveRouteContext.from_api_route
    built: dict[tuple[int, str], _EffectiveRouteContext] = {}

    def from_api_route(
        *, original_route: APIRoute, include_context: Any
    ) -> _EffectiveRouteContext:
        # What is built refers to the original, which therefore stays.
        key = id(original_route), include_context.prefix
        if key not in built:
            built[key] = build(
                original_route=original_route, include_context=include_context
            )
        return built[key]

    patch.object(
        _EffectiveRouteContext, "from_api_route", from_api_route
    ).start()


def build_routes() -> None:
    """Build those routes now, for the children that are to share them."""
    app = FastAPI(generate_unique_id_function=lambda route: route.name)
    for router in application._ROUTERS:
        app.include_router(router)
    scope = {"type": "http", "method": "GET", "path": "/-", "headers": []}
    for route in app.router.routes:
        route.matches(scope)


def trust_no_authority() -> None:
    """Load no certificates: no test talks TLS to the world.

    Every HTTP client loads the same hundreds, which takes 20 ms. Without
    them it trusts nobody.
    """
    load = ssl.SSLContext.load_verify_locations
    of_this_machine = ssl.get_default_verify_paths().openssl_cafile
    candidates = certifi.where(), of_this_machine, *_ssl.CA_FILE_CANDIDATES
    of_the_world = {os.path.realpath(each) for each in candidates}

    def load_others(
        context: ssl.SSLContext, cafile: Any = None, *rest: Any, **more: Any
    ) -> None:
        if cafile is None or os.path.realpath(cafile) not in of_the_world:
            load(context, cafile, *rest, **more)

    patch.object(ssl.SSLContext, "load_verify_locations", load_others).start()
