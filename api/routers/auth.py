"""`/auth`: sign in and out with a browser, and who is calling."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse

from api.core.errors import NotFoundError
from api.core.problems import problems
from api.dependencies.browser_cookies import Cookies
from api.dependencies.callers import Anybody
from api.dependencies.services import AllServices, Services
from api.models.access_models import Me, SignedOut
from api.services.access.identity import SignedInBy
from api.services.access.sessions import SessionEndedError
from api.services.access.sign_in import MOST_SECONDS, Answer
from utilities.clock import to_datetime

router = APIRouter(prefix="/auth", tags=["sign-in"])
_SEE_OTHER = 303
# Of the provider's answer; none is longer.
_Text = Annotated[str | None, Query(max_length=4096)]
_NOT_SET_UP = {404: ["Sign-in not found"]}
_ENDED = {401: ["The session has ended; sign in again"]}


@router.get(
    "/login",
    status_code=_SEE_OTHER,
    response_class=RedirectResponse,
    include_in_schema=False,
)
async def sign_in(
    services: AllServices,
    return_to: Annotated[
        str,
        Query(
            alias="next",
            description="The path to go to afterwards.",
        ),
    ] = "/",
) -> RedirectResponse:
    """Go to the identity provider to sign in."""
    way, cookies = services.access.sign_in, _cookies(services)
    address, begun = await way.begin(return_to)
    response = _away(address)
    cookies.set(response, cookies.login, begun, MOST_SECONDS)
    return response


@router.get(
    "/callback",
    status_code=_SEE_OTHER,
    response_class=RedirectResponse,
    include_in_schema=False,
)
async def finish_sign_in(
    request: Request,
    services: AllServices,
    *,
    state: _Text = None,
    code: _Text = None,
    iss: _Text = None,
    error: _Text = None,
) -> RedirectResponse:
    """Come back from the identity provider; a new session begins."""
    way, cookies = services.access.sign_in, _cookies(services)
    request.state.is_audited = True
    found = await way.complete(
        Answer(state, code, iss, error), request.cookies.get(cookies.login)
    )
    identity = services.access.signed_in(found.claims)
    request.state.identity = identity
    await _end_before(request, services, cookies)
    sessions = services.access.sessions
    secret = await sessions.begin(identity, found.id_token)
    response = _away(way.us.public_url + found.return_to)
    cookies.set(response, cookies.session, secret, sessions.seconds)
    cookies.remove(response, cookies.login)
    return response


@router.post(
    "/logout",
    response_model=SignedOut,
    responses=problems(_NOT_SET_UP | _ENDED),
)
async def sign_out(
    request: Request, services: AllServices, identity: Anybody
) -> JSONResponse:
    """End the session here; `redirect` ends it at the provider."""
    cookies = _cookies(services)
    secret = request.cookies.get(cookies.session)
    if secret is None or identity.by is not SignedInBy.SESSION:
        raise SessionEndedError
    way = services.access.sign_in
    id_token = await services.access.sessions.end(secret)
    address = await way.end_address(id_token)
    body = SignedOut(redirect=address or f"{way.us.public_url}/")
    response = JSONResponse(body.model_dump(by_alias=True))
    cookies.remove(response, cookies.session)
    return response


@router.get("/me")
async def who_am_i(
    request: Request, services: AllServices, identity: Anybody
) -> Me:
    """Return who is calling."""
    csrf_token, expires_at = None, None
    if identity.by is SignedInBy.SESSION:
        sessions = services.access.sessions
        secret = request.cookies[_cookies(services).session]
        csrf_token = sessions.csrf_token(secret)
        expires_at = to_datetime((await sessions.find(secret)).expires_at)
    scope = identity.clients
    return Me(
        subject=identity.subject,
        name=identity.name,
        roles=sorted(identity.roles),
        clients=None if scope is None else sorted(scope),
        by=identity.by,
        csrf_token=csrf_token,
        expires_at=expires_at,
    )


async def _end_before(
    request: Request, services: Services, cookies: Cookies
) -> None:
    """End the session that the browser has had until now."""
    before = request.cookies.get(cookies.session)
    if before is None:
        return
    try:
        await services.access.sessions.end(before)
    except SessionEndedError:
        return


def _cookies(services: Services) -> Cookies:
    if services.cookies is None:
        raise NotFoundError("Sign-in")
    return services.cookies


def _away(address: str) -> RedirectResponse:
    # No cache may give one browser's answer to another.
    return RedirectResponse(address, _SEE_OTHER, {"Cache-Control": "no-store"})
