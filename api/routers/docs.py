"""`/docs`, `/redoc` and the schema: protected, and all from this server."""

import asyncio
from pathlib import Path
from typing import Any, cast

import fastapi_offline
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from api.core.errors import NotFoundError
from api.dependencies.docs_auth import verify_docs_user

_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_ASSET_NAMES = frozenset(
    {
        "favicon.png",
        "redoc.standalone.js",
        "swagger-ui-bundle.js",
        "swagger-ui.css",
    }
)

router = APIRouter(
    include_in_schema=False, dependencies=[Depends(verify_docs_user)]
)


@router.get("/openapi.json")
async def schema(request: Request) -> dict[str, Any]:
    """Return the schema of the whole interface."""
    # Its first time takes half a second, in which others must be answered.
    return await asyncio.to_thread(cast("FastAPI", request.app).openapi)


@router.get("/docs")
async def swagger(request: Request) -> HTMLResponse:
    """Show the interface to try it."""
    root = _root(request)
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="Metasync - try it",
        swagger_js_url=f"{root}/docs/assets/swagger-ui-bundle.js",
        swagger_css_url=f"{root}/docs/assets/swagger-ui.css",
        swagger_favicon_url=f"{root}/docs/assets/favicon.png",
    )


@router.get("/redoc")
async def redoc(request: Request) -> HTMLResponse:
    """Show the interface to read it."""
    root = _root(request)
    return get_redoc_html(
        openapi_url=f"{root}/openapi.json",
        title="Metasync - reference",
        redoc_js_url=f"{root}/docs/assets/redoc.standalone.js",
        redoc_favicon_url=f"{root}/docs/assets/favicon.png",
        with_google_fonts=False,
    )


@router.get("/docs/assets/{name}")
async def asset(name: str) -> FileResponse:
    """Serve a page's scripts and styles."""
    if name not in _ASSET_NAMES:
        raise NotFoundError("Asset")
    return FileResponse(_ASSETS / name)


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")
