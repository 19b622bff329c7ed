"""Whom an address stands for, where requests are counted by it."""

import ipaddress
from functools import lru_cache
from typing import Final

from starlette.types import Scope

UNKNOWN: Final = "unknown"
# One customer of a provider has a whole /64.
_PREFIX = 64
_LONGEST = 64


def address_of(scope: Scope) -> str:
    """Return the address that a request counts for.

    uvicorn has put the address there that a trusted proxy has forwarded.
    """
    client = scope.get("client")
    host = client[0] if client else ""
    # What a proxy forwards may be any text.
    return counted_address(host) if len(host) <= _LONGEST else UNKNOWN


@lru_cache(4096)
def counted_address(host: str) -> str:
    """Return the IPv4 address, the IPv6 network, or `UNKNOWN`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    network = int(address) >> (128 - _PREFIX) << (128 - _PREFIX)
    return f"{ipaddress.IPv6Address(network)}/{_PREFIX}"
