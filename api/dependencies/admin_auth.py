"""The administrator's key."""

from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import HTTPConnection

from api.core import security
from api.core.addresses import address_of
from api.core.errors import WrongKeyError
from api.dependencies.services import AllServices
from api.dependencies.signed_in import signed_in

# Common reverse proxies drop header names with underscores: both spellings
# are taken.
Underscored = Annotated[
    str | None,
    Header(alias="admin_api_key", convert_underscores=False),
]
Hyphenated = Annotated[
    str | None, Header(alias="admin-api-key", include_in_schema=False)
]


async def optional_admin_auth(
    request: HTTPConnection,
    services: AllServices,
    admin_api_key: Underscored = None,
    hyphenated: Hyphenated = None,
) -> bool:
    """Tell whether the administrator asks; a wrong key is refused.

    Without a key, it is whoever has signed in.

    Raises:
        WrongKeyError: a key came, and it is wrong.
        TooManyFailedLoginsError: too many wrong ones came before.
        AuthenticationError, ForbiddenError: as `signed_in`.
    """
    sent = [key for key in (admin_api_key, hyphenated) if key is not None]
    if not sent:
        person = await signed_in(request)
        return person is not None and person.is_admin
    address, logins = address_of(request.scope), services.login_limits
    logins.check(security.ADMIN, address)
    if not all(security.same(key, services.admin_api_key) for key in sent):
        logins.failed(address)
        raise WrongKeyError("Invalid admin API key")
    logins.succeeded(security.ADMIN, address)
    return True


IsAdmin = Annotated[bool, Depends(optional_admin_auth)]
