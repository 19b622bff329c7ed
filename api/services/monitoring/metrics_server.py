"""The metrics of a process that has no API, on a port of their own."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    make_wsgi_app,
    start_http_server,
)

from api.core.addresses import counted_address
from api.core.errors import AuthenticationError, TooManyRequestsError
from api.core.scrape_access import ScrapeAccess

_TEXT = ("Content-Type", "text/plain; charset=utf-8")

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

log = structlog.get_logger(__name__)


class MetricsPortError(Exception):
    """The port cannot be listened on; says which and why."""


@contextmanager
def metrics_server(
    host: str, port: int, registry: CollectorRegistry, access: ScrapeAccess
) -> Iterator[int]:
    """Serve a registry in threads of its own; gives the port.

    `port` 0 takes a free one.

    Raises:
        MetricsPortError: somebody else has it, or the host is not ours.
    """
    try:
        # It serves at once: something empty, until it is guarded.
        empty = CollectorRegistry()
        server, thread = start_http_server(port, host, empty)
    except OSError as error:
        raise MetricsPortError(
            f"METRICS_PORT {port} on {host} cannot be used: "
            f"{error.strerror or error}. Each `metasync worker` of a machine "
            "needs a port of its own."
        ) from None
    server.set_app(_guarded(make_wsgi_app(registry), access))
    log.info("metrics_served", host=host, port=server.server_port)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _guarded(app: Wsgi, access: ScrapeAccess) -> Wsgi:
    def guarded(
        environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        try:
            access.check(
                environ.get("HTTP_AUTHORIZATION"),
                environ.get("HTTP_ADMIN_API_KEY"),
                counted_address(environ.get("REMOTE_ADDR", "")),
            )
        except TooManyRequestsError as error:
            headers = [_TEXT, ("Retry-After", str(error.retry_after))]
            start_response("429 Too Many Requests", headers)
            return [f"{error}\n".encode()]
        except AuthenticationError as error:
            headers = [
                _TEXT,
                ("WWW-Authenticate", 'Bearer realm="Metasync metrics"'),
            ]
            start_response("401 Unauthorized", headers)
            return [f"{error}\n".encode()]
        return app(environ, start_response)

    return guarded
