import base64

import pytest

from cli.proxy_token import token_of, without_credentials

BASIC = b"Basic " + base64.b64encode(b"client:key")


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        ([(b"proxy-authorization", BASIC)], "client:key"),
        ([(b"proxy-authorization", b"Bearer client:key")], "client:key"),
        ([(b"authorization", b"Bearer client:key")], "client:key"),
        ([(b"x_api_key", b"client:key")], "client:key"),
        (
            [(b"x-api-key", b"theirs"), (b"proxy-authorization", BASIC)],
            "client:key",
        ),
        ([(b"proxy-authorization", b"Basic !")], None),
        ([(b"proxy-authorization", b"Basic DQo=")], None),
        ([(b"authorization", b"Bearer \xff")], None),
    ],
)
def test_the_proxys_login_goes_before_the_providers(
    headers: list[tuple[bytes, bytes]], token: str | None
) -> None:
    assert token_of(headers) == token


def test_no_credential_is_left() -> None:
    headers = [
        (b"proxy-authorization", BASIC),
        (b"authorization", b"x"),
        (b"api_key", b"x"),
        (b"accept", b"*/*"),
    ]
    assert without_credentials(headers) == [(b"accept", b"*/*")]
