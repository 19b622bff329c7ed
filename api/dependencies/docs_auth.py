"""HTTP Basic for the pages that show the schema."""

from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from api.core import security
from api.dependencies.services import AllServices

_basic = HTTPBasic(realm="Metasync documentation")


async def verify_docs_user(
    services: AllServices,
    sent: Annotated[HTTPBasicCredentials, Depends(_basic)],
) -> None:
    """Let only the reader of the documentation through."""
    # Both are always compared, so that the time reveals nothing.
    user = security.same(sent.username, services.docs_user)
    secret = security.same(sent.password, services.docs_secret)
    if not (user and secret):
        raise HTTPException(
            401,
            "Invalid documentation credentials",
            {"WWW-Authenticate": 'Basic realm="Metasync documentation"'},
        )
