import socket

import pytest

from api.core.http_server import PortError, _limited_address, bound_sockets


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("127.0.0.1", None),
        ("127.1.2.3", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8::1", "2001:db8::/64"),
    ],
)
def test_addresses_of_this_machine_have_no_limit(
    host: str, counted: str | None
) -> None:
    assert _limited_address((host, 1)) == counted


def test_a_unix_socket_has_no_address() -> None:
    assert _limited_address(None) is None


def test_a_port_in_use_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            PortError, match=r"already in use.*set PORT"
        ) as caught:
            bound_sockets("127.0.0.1", port)
    assert "\n" not in str(caught.value)


def test_a_host_that_is_not_ours_is_told() -> None:
    with pytest.raises(PortError, match="Set HOST and PORT"):
        bound_sockets("192.0.2.1", 0)


def test_a_free_port_is_taken() -> None:
    sockets = bound_sockets("localhost", 0)
    for sock in sockets:
        assert sock.getsockname()[1] > 0
        sock.close()
