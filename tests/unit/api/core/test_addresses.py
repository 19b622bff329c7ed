import pytest

from api.core.addresses import UNKNOWN, address_of, counted_address


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:0:1", "2001:db8::/64"),
        ("::1", "::/64"),
        ("a text\nof the caller", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_an_address_stands_for_one_customer(host: str, counted: str) -> None:
    assert counted_address(host) == counted
    assert address_of({"client": (host, 1)}) == counted


@pytest.mark.parametrize("client", [None, ("x" * 100_000, 0)])
def test_what_is_no_address_is_unknown(client: object) -> None:
    assert address_of({"client": client}) == UNKNOWN
