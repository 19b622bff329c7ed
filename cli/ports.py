"""TCP ports of this machine."""

import errno
import socket

from cli.errors import CommandError, reason


def check_port(host: str, port: int) -> None:
    """Make sure that the service can listen there.

    Raises:
        CommandError: it cannot; says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            # As the server does: what an earlier one left is no obstacle.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
    except OSError as error:
        why = reason(error).lower()
        what_to_do = "Set HOST to an address of this machine"
        if error.errno == errno.EADDRINUSE:
            what_to_do = "Stop what uses it, or choose another PORT"
        elif error.errno == errno.EACCES:
            what_to_do = "Set PORT to one above 1023"
        raise CommandError(
            f"Cannot listen on {host}, port {port}: {why}. {what_to_do}"
        ) from None
