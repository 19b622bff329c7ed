"""The console's files: one page, its scripts and its styles.

They are read once, when they are asked for first. Nothing is built: what
the browser gets is what stands in `assets/`. Addresses in them are relative,
so that they work behind any prefix.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from api.core.errors import NotFoundError

router = APIRouter(prefix="/console", include_in_schema=False)

_ASSETS = Path(__file__).parent / "assets"
_PAGE = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# No script or style but the files; nothing of them can write HTML.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # The ETag says whether it is still the same.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


@cache
def _files() -> dict[str, _File]:
    return {
        path.relative_to(_ASSETS).as_posix(): _read(path)
        for path in sorted(_ASSETS.rglob("*"))
        if path.suffix in _TYPES
    }


def _read(path: Path) -> _File:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:32]
    return _File(content, _TYPES[path.suffix], f'"{digest}"')


@router.get("")
async def without_slash() -> Response:
    """Lead to the page; its files' addresses are relative to it."""
    return RedirectResponse("console/", 308)


@router.get("/")
async def page(request: Request) -> Response:
    """Show the page."""
    return _answer(request, _PAGE)


@router.get("/assets/{name:path}")
async def asset(request: Request, name: str) -> Response:
    """Give a script, a style or a picture."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    # Looked up by name: no path of the file system can be asked for.
    found = _files().get(name)
    if found is None:
        raise NotFoundError("File")
    headers = {**_HEADERS, "ETag": found.etag}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(
        found.content, media_type=found.media_type, headers=headers
    )
