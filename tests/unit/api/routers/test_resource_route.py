import importlib
import pkgutil

from fastapi import APIRouter
from fastapi.routing import APIRoute

import api.routers
from api.dependencies.callers import BEFORE_BODY
from api.routers.resource_route import ResourceRoute

# Probes, pages and sign-in: monitors, browsers and identity providers add
# parameters of their own.
OPEN = {"health", "home", "metrics", "docs", "auth"}
# The proxy takes the provider's parameters; its own route knows the client
# before it reads anything: `test_proxy.py`.
PASSED_ON = {"proxy"}


def routes() -> list[APIRoute]:
    modules = [
        importlib.import_module(f"api.routers.{each.name}")
        for each in pkgutil.iter_modules(api.routers.__path__)
        if each.name not in OPEN | PASSED_ON
    ]
    return [
        route
        for module in modules
        if isinstance(router := getattr(module, "router", None), APIRouter)
        for route in router.routes
        if isinstance(route, APIRoute)
    ]


def test_every_path_of_a_resource_is_strict() -> None:
    assert len(routes()) > 40
    assert [
        route.path
        for route in routes()
        if not isinstance(route, ResourceRoute)
    ] == []


def test_every_path_with_a_body_has_a_guard_that_comes_before_it() -> None:
    for route in routes():
        calls = {each.call for each in route.dependant.dependencies}
        assert calls & set(BEFORE_BODY), route.path
