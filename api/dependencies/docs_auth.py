"""HTTP Basic for the pages that show the schema."""

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from api.core import security
from api.core.addresses import address_of
from api.dependencies.services import AllServices

_basic = HTTPBasic(realm="Metasync documentation")


_SECRET = "docs"  # noqa: S105 - a name


async def verify_docs_user(
    request: Request,
    services: AllServices,
    sent: Annotated[HTTPBasicCredentials, Depends(_basic)],
) -> None:
    """Let only the reader of the documentation through."""
    address, logins = address_of(request.scope), services.login_limits
    logins.check(_SECRET, address)
    # Both are always compared, so that the time reveals nothing.
    user = security.same(sent.username, services.docs_user)
    secret = security.same(sent.password, services.docs_secret)
    if not (user and secret):
        logins.failed(address)
        raise HTTPException(
            401,
            "Invalid documentation credentials",
            {"WWW-Authenticate": 'Basic realm="Metasync documentation"'},
        )
    logins.succeeded(_SECRET, address)
