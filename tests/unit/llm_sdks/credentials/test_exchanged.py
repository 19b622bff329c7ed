"""Credentials and the endpoints that exchange them."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from llm_sdks import errors
from llm_sdks.credentials.exchanged import (
    Token,
    is_exchanged,
    read_credential,
)
from tests.support.served import served

HIDDEN = "do-not-show"
REFUSED, FAILED = errors.NotAuthorizedError, errors.ProviderError
CLIENT = f'"clientId": "a", "clientSecret": "{HIDDEN}"'


@dataclass
class Endpoint:
    url: str = ""
    answer: Any = field(
        default_factory=lambda: {"access_token": "tok", "expires_in": 3600}
    )
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[dict[str, str], str]] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.Response:
        form = {
            name: str(text) for name, text in (await request.post()).items()
        }
        self.asked.append((form, request.headers.get("User-Agent", "")))
        body = self.answer
        content = (
            body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        return web.Response(
            status=self.status, body=content, headers=self.headers
        )


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    app = web.Application()
    app.router.add_route("*", "/token", made.serve)
    with served(app) as url:
        made.url = f"{url}/token"
        yield made


def exchange(**fields: Any) -> Token:
    return read_credential(SecretStr(json.dumps(fields))).exchange()


def client(endpoint: Endpoint, **fields: Any) -> Token:
    return exchange(
        clientId="me", clientSecret=HIDDEN, tokenUrl=endpoint.url, **fields
    )


def pem(key: Any) -> str:
    text: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return text.decode()


RSA = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
EC = pem(ec.generate_private_key(ec.SECP256R1()))


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    )
    return found


def test_an_oauth_client_gets_a_token(endpoint: Endpoint) -> None:
    token = client(endpoint, scope="llm", audience="them", agent="mine/1")
    assert token == Token("tok", 3600)
    ((form, agent),) = endpoint.asked
    assert form == {
        "grant_type": "client_credentials",
        "client_id": "me",
        "client_secret": HIDDEN,
        "scope": "llm",
        "audience": "them",
    }
    assert agent == "mine/1"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("1800", 1800), (None, 3600), ("soon", 3600), (-5, 1), (1e12, 86_400)],
)
def test_odd_lives_are_bounded(
    endpoint: Endpoint, said: object, seconds: float
) -> None:
    endpoint.answer = {"access_token": "tok", "expires_in": said}
    assert client(endpoint).seconds == seconds


@pytest.mark.parametrize("key", [RSA, EC])
def test_a_signed_token_is_the_token_or_is_exchanged(
    endpoint: Endpoint, key: str
) -> None:
    fields = {
        "type": "jwt",
        "privateKey": key,
        "issuer": "me",
        "audience": "them",
    }
    signed = exchange(**fields, seconds=600)
    assert signed.seconds == 600
    found = claims(signed.value)
    assert (found["iss"], found["aud"]) == ("me", "them")
    assert found["exp"] - found["iat"] == 600
    assert exchange(**fields, tokenUrl=endpoint.url).value == "tok"
    ((form, _),) = endpoint.asked
    assert form["grant_type"].endswith("jwt-bearer")
    assert claims(form["assertion"])["iss"] == "me"


def test_googles_library_exchanges_googles_files(endpoint: Endpoint) -> None:
    token = exchange(
        type="service_account",
        client_email="me@p.iam.gserviceaccount.com",
        private_key=RSA,
        token_uri=endpoint.url,
        project_id="p",
    )
    assert token.value == "tok"
    assert 3500 < token.seconds <= 3600
    ((form, _),) = endpoint.asked
    assert "cloud-platform" in claims(form["assertion"])["scope"]
    endpoint.status, endpoint.answer = 400, {"error": "invalid_grant"}
    with pytest.raises(errors.NotAuthorizedError, match="Google refuses"):
        exchange(
            type="service_account",
            client_email="me@p.iam.gserviceaccount.com",
            private_key=RSA,
            token_uri=endpoint.url,
        )
    with pytest.raises(errors.ConfigurationError, match="check the file"):
        exchange(type="service_account", client_email="x")


@pytest.mark.parametrize(
    ("status", "answer", "error", "words"),
    [
        (401, {"error": "invalid_client"}, REFUSED, "invalid_client"),
        (400, {"error": HIDDEN + "!"}, REFUSED, "no reason"),
        (400, b"<html>", REFUSED, "HTTP 400"),
        (503, b"", FAILED, "HTTP 503"),
        (200, b"[]", FAILED, "no token"),
        (200, {"access_token": 7}, FAILED, "no token"),
        (200, {"access_token": "a\nb"}, FAILED, "no token"),
        (200, {"access_token": "x" * 20_000}, FAILED, "no token"),
        (200, b"x" * 100_000, FAILED, "too long"),
        (302, b"", FAILED, "no token"),
    ],
)
def test_what_is_no_token_is_an_error_without_a_secret(
    endpoint: Endpoint,
    status: int,
    answer: Any,
    error: type[errors.LLMError],
    words: str,
) -> None:
    endpoint.status, endpoint.answer = status, answer
    endpoint.headers = {"Location": endpoint.url} if status == 302 else {}
    with pytest.raises(error, match=words) as told:
        client(endpoint)
    assert HIDDEN not in str(told.value)
    # A redirection is not followed.
    assert len(endpoint.asked) == 1


def test_an_endpoint_that_is_away(endpoint: Endpoint) -> None:
    del endpoint
    with pytest.raises(errors.CannotConnectError):
        exchange(
            clientId="me",
            clientSecret=HIDDEN,
            tokenUrl="http://127.0.0.1:9/token",
        )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{no json", "no JSON"),
        ('{"clientId": "a"}', "clientSecret"),
        (f"{{{CLIENT}}}", "tenant or tokenUrl"),
        (f'{{{CLIENT}, "tokenUrl": "http://example.com/t"}}', "https"),
        (f'{{{CLIENT}, "tenant": "x/../y"}}', "tenant"),
        (f'{{{CLIENT}, "tenant": "t", "secret": "{HIDDEN}"}}', "secret"),
        (f'{{"type": "jwt", "privateKey": "{HIDDEN}"}}', "audience"),
    ],
)
def test_what_is_no_credential_is_said_without_quoting(
    text: str, words: str
) -> None:
    assert is_exchanged(SecretStr(text))
    with pytest.raises(errors.ConfigurationError, match=words) as told:
        read_credential(SecretStr(text))
    assert HIDDEN not in str(told.value)


def test_a_key_that_signs_nothing_is_said() -> None:
    with pytest.raises(errors.ConfigurationError, match="no PEM") as told:
        exchange(type="jwt", privateKey=HIDDEN, issuer="i", audience="a")
    assert HIDDEN not in str(told.value)


def test_keys_are_keys() -> None:
    assert not is_exchanged(SecretStr("sk-123"))
    assert not is_exchanged(SecretStr(""))
