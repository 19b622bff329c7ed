"""Who may read the metrics."""

from typing import Annotated

from fastapi import Depends, Header, Request

from api.core.addresses import address_of
from api.dependencies.admin_auth import Hyphenated, Underscored
from api.dependencies.services import AllServices


async def verify_scraper(
    request: Request,
    services: AllServices,
    authorization: Annotated[
        str | None, Header(include_in_schema=False)
    ] = None,
    admin_api_key: Underscored = None,
    hyphenated: Hyphenated = None,
) -> None:
    """Let only those through who may read the metrics.

    Raises:
        AuthenticationError: no credential came, or a wrong one.
        TooManyFailedLoginsError: too many wrong ones came before.
    """
    address = address_of(request.scope)
    sent = {admin_api_key, hyphenated}
    for key in sent - {None} or sent:
        services.scrape_access.check(authorization, key, address)


MayScrape = Depends(verify_scraper)
