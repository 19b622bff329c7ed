"""Any `clientReference.<field>=<value>` of a query string."""

from typing import Annotated

from fastapi import Depends, Request

from api.services.shared import client_reference


async def reference_query(request: Request) -> dict[str, str]:
    """Read these parameters; a path that depends on it takes them."""
    return client_reference.from_query(request.query_params.multi_items())


ReferenceQuery = Annotated[dict[str, str], Depends(reference_query)]
