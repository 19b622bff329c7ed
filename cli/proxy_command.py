"""Runs the forward proxy until a signal ends it."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

import uvicorn
import uvloop

from api.core.connections import ConnectionLimits, Connections
from api.core.http_server import PortError, bound_sockets
from cli.errors import CommandError
from cli.forward_proxy import ForwardProxy
from cli.terminal import Terminal, say
from cli.tunnel import ProxyProtocol, Tunnels
from utilities.descriptors import most_connections

_MOST_CONNECTIONS = 4096
_FROM_ONE_ADDRESS = 512
_GRACE_SECONDS = 5


def run_proxy(
    service: str, host: str, port: int, allowed: Sequence[str]
) -> None:
    """Serve until a signal ends it.

    Raises:
        CommandError: it cannot; says what to do.
    """
    if urlsplit(service).scheme not in ("http", "https"):
        raise CommandError(f"{service} is no URL of a Metasync")
    try:
        sockets = bound_sockets(host, port)
    except PortError as error:
        raise CommandError(str(error).replace("PORT", "--port")) from None
    taken = sockets[0].getsockname()[1]
    say(
        Terminal(),
        f"Forward proxy for {service} on http://{host}:{taken}; Ctrl-C ends "
        "it.",
    )
    proxy = ForwardProxy(service)
    server = uvicorn.Server(proxy_config(proxy, allowed))

    async def serve() -> None:
        try:
            await server.serve(sockets)
        finally:
            await proxy.close()

    _end_well_on_signals()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def _end_well_on_signals() -> None:
    # uvicorn raises a signal again once the server has stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit(0))


def proxy_config(
    proxy: ForwardProxy, allowed: Sequence[str]
) -> uvicorn.Config:
    """Give uvicorn's configuration of the proxy, with our limits."""
    limits = ConnectionLimits(
        connections=most_connections(_MOST_CONNECTIONS),
        connections_per_address=_FROM_ONE_ADDRESS,
    )
    members = {
        "shared": Connections(limits),
        "tunnels": Tunnels(tuple(allowed), proxy),
    }
    return uvicorn.Config(
        proxy,
        http=type("LimitedProxyProtocol", (ProxyProtocol,), members),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
