"""The administrator's key."""

from typing import Annotated

from fastapi import Depends, Header

from api.core import security
from api.core.errors import AuthenticationError
from api.services.dependencies import AllServices

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
    services: AllServices,
    admin_api_key: Underscored = None,
    hyphenated: Hyphenated = None,
) -> bool:
    """Tell whether the administrator asks; a wrong key is refused.

    Raises:
        AuthenticationError: a key came, and it is wrong.
    """
    sent = admin_api_key if admin_api_key is not None else hyphenated
    if sent is None:
        return False
    if not security.same(sent, services.admin_api_key):
        raise AuthenticationError("Invalid admin API key")
    return True


IsAdmin = Annotated[bool, Depends(optional_admin_auth)]


async def verify_admin_api_key(is_admin: IsAdmin) -> None:
    """Let only the administrator through.

    Raises:
        AuthenticationError: no key came, or a wrong one.
    """
    if not is_admin:
        raise AuthenticationError("Admin API key is required")
