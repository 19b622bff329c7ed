"""The administrator's key."""

from typing import Annotated

from fastapi import Depends, Header

from api.core import security
from api.core.errors import AuthenticationError
from api.dependencies.services import AllServices

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
    sent = [key for key in (admin_api_key, hyphenated) if key is not None]
    if not all(security.same(key, services.admin_api_key) for key in sent):
        raise AuthenticationError("Invalid admin API key")
    return bool(sent)


IsAdmin = Annotated[bool, Depends(optional_admin_auth)]
