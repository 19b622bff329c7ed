"""Which addresses webhooks may be sent to."""

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from api.core.errors import RuleError

NOT_PUBLIC = (
    "its address is not public; the operator can allow such addresses with "
    "WEBHOOK_ALLOW_PRIVATE"
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class NotPublicError(OSError):
    """A name leads to an address that must not be connected to."""

    def __init__(self) -> None:
        super().__init__(NOT_PUBLIC)


def is_public(address: str) -> bool:
    """Tell whether an address belongs to the public internet.

    IPv4 addresses inside IPv6 ones (mapped, 6to4, NAT64) count as what
    they lead to; what is no address is not public.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return all(map(_is_global, [parsed, *_inner(parsed)]))


def _is_global(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and _inner(address):
        return True  # what it leads to is looked at
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
    )


def _inner(address: _Address) -> list[ipaddress.IPv4Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(address.packed[-4:]))
    return [each for each in found if each is not None]


def public_socket(info: AddressInfo) -> socket.socket:
    """Make the socket for a connection to a public address.

    It gets the very address that is connected to, after names are
    resolved: a name that changes in between makes no difference.

    Raises:
        NotPublicError: the address is another one.
    """
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise NotPublicError
    return socket.socket(family, kind, protocol)


def check_url(url: str, *, allow_private: bool) -> None:
    """Refuse a URL that is never delivered to.

    A name is not looked up here: what it leads to is checked by each
    connection.

    Raises:
        RuleError: says what is wrong with it.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise RuleError("The url is not valid") from None
    schemes = {"https", "http"} if allow_private else {"https"}
    if parts.scheme not in schemes:
        choices = " or ".join(sorted(schemes))
        raise RuleError(f"The url must begin with {choices}://")
    if not host or any(c.isspace() or not c.isprintable() for c in url):
        raise RuleError("The url is not valid")
    if parts.username is not None or parts.password is not None:
        raise RuleError("The url must not have a user or a password")
    literal = _literal(host)
    if not (allow_private or literal is None or is_public(literal)):
        raise RuleError(f"The url is refused: {NOT_PUBLIC}")


def _literal(host: str) -> str | None:
    """Read a host that is an address, in any of its spellings."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        # Also `127.1`, `2130706433` and `0x7f000001`.
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None
