import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.errors import RuleError
from api.services.webhooks.addresses import (
    NotPublicError,
    check_url,
    is_public,
    public_socket,
)

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fd00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "2002:7f00:1::",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "::127.0.0.1",
    "2001:db8::1",
    "fe80::1%eth0",
    "example.com",
    "",
]
PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    assert not is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(NotPublicError):
        public_socket((family, socket.SOCK_STREAM, 0, "", (address, 443)))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


def test_a_public_address_gets_a_socket() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 443))
    public_socket(info).close()


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_counts_as_itself(
    inner: ipaddress.IPv4Address,
) -> None:
    for outer in (f"::ffff:{inner}", f"64:ff9b::{inner}"):
        assert is_public(outer) == is_public(str(inner))


@given(st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_no_spelling_of_a_private_address_is_taken(
    address: ipaddress.IPv4Address,
) -> None:
    number = int(address)
    first, *rest = address.packed
    for host in (
        str(address),
        str(number),
        hex(number),
        f"{first}.{int.from_bytes(bytes(rest), 'big')}",
        f"0{first:o}.{'.'.join(map(str, rest))}",
        f"[::ffff:{address}]",
    ):
        with pytest.raises(RuleError, match="not public"):
            check_url(f"https://{host}/x", allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/x?y=1",
        "https://8.8.8.8:8443/",
        "https://ü.example",
    ],
)
def test_urls_that_are_taken(url: str) -> None:
    check_url(url, allow_private=False)


def test_an_operator_may_allow_private_addresses() -> None:
    check_url("http://127.0.0.1:9/x", allow_private=True)
    for url in ("http://127.0.0.1 /x", "file:///etc/passwd"):
        with pytest.raises(RuleError):
            check_url(url, allow_private=True)
