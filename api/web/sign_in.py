"""`/console/session`: sign in, who has signed in, sign out."""

from typing import cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.core.errors import AuthenticationError, ForbiddenError
from api.core.request_body import RequestBodies
from api.models.base import ApiModel
from api.web.sessions import COOKIE, CSRF_HEADER, SESSION_HOURS, Sessions

router = APIRouter(prefix="/console", include_in_schema=False)

_PRIVATE = {"Cache-Control": "no-store"}
_OTHER_SITE = "Only the console's own page can sign in"
_SAME_SITE = frozenset({"same-origin", "none"})


class SignIn(ApiModel):
    """What signs in: the admin key, or a client's `id:key`."""

    key: str


@router.post("/session")
async def sign_in(request: Request) -> Response:
    """Open a session; an earlier one of this browser ends."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site not in _SAME_SITE:
        raise ForbiddenError(_OTHER_SITE)
    sessions = _sessions(request)
    bodies = cast("RequestBodies", request.app.state.bodies)
    async with bodies.body_of(request) as body:
        asked = await bodies.parse(SignIn, body)
    token = await sessions.open(asked.key, request)
    if (before := request.cookies.get(COOKIE)) is not None:
        await sessions.close(before)
    response = await _shown(request, token)
    response.set_cookie(
        COOKIE,
        token,
        max_age=SESSION_HOURS * 3600,
        path=_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.get("/session")
async def get_session(request: Request) -> Response:
    """Tell who has signed in, if anybody, and what changes bring along."""
    token = request.cookies.get(COOKIE)
    try:
        if token is not None:
            return await _shown(request, token)
    except AuthenticationError:
        # It has ended: the page asks for the key.
        pass
    return JSONResponse({"role": None}, headers=_PRIVATE)


@router.delete("/session", status_code=204)
async def sign_out(request: Request, *, everywhere: bool = False) -> Response:
    """End this session, or all of the same user."""
    sessions, token = _sessions(request), request.cookies.get(COOKIE)
    # Somebody else's page must not sign people out.
    if token is not None and await sessions.caller_of(request) is not None:
        if everywhere:
            await sessions.close_all(token)
        await sessions.close(token)
    response = Response(status_code=204, headers=_PRIVATE)
    response.delete_cookie(COOKIE, path=_path(request))
    return response


async def _shown(request: Request, token: str) -> JSONResponse:
    sessions = _sessions(request)
    caller = await sessions.caller_by_token(token)
    body = {
        "role": "admin" if caller.is_admin else "client",
        "clientId": caller.client_id,
        "csrfToken": sessions.csrf_token(token),
        "csrfHeader": CSRF_HEADER,
    }
    return JSONResponse(body, headers=_PRIVATE)


def _sessions(request: Request) -> Sessions:
    return cast("Sessions", request.app.state.sessions)


def _path(request: Request) -> str:
    # What a proxy has cut off before is only known if it is configured.
    return f"{str(request.scope.get('root_path', '')).rstrip('/')}/"
