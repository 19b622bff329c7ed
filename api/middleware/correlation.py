"""One id that follows a request through every log line and its answer."""

import re
import uuid

from asgi_correlation_id import CorrelationIdMiddleware
from starlette.types import ASGIApp

HEADER = "X-Correlation-ID"
_ACCEPTABLE = re.compile(r"[\x20-\x7e]{1,256}")


def correlation_middleware(app: ASGIApp) -> ASGIApp:
    """Take a caller's id if it is fit to be logged, else make one."""
    return CorrelationIdMiddleware(
        app,
        header_name=HEADER,
        update_request_header=False,
        generator=lambda: str(uuid.uuid4()),
        validator=lambda value: bool(_ACCEPTABLE.fullmatch(value)),
    )
