"""A running service, and who its user is, from options and environment."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values

from cli.errors import CommandError, reason
from cli.rest_client import RestClient

URL_VARIABLE = "METASYNC_URL"
_TOKEN = "METASYNC_TOKEN"  # noqa: S105 - a name
CLIENT_ID_VARIABLE = "METASYNC_CLIENT_ID"
CLIENT_KEY_VARIABLE = "METASYNC_CLIENT_API_KEY"
_ADMIN_KEY = "ADMIN_API_KEY"
_ENV_FILE = Path(".env")
_PORT = "8001"


@contextlib.contextmanager
def service(server: str | None) -> Iterator[RestClient]:
    """Be a user of a service: the environment's client, or its admin.

    Raises:
        CommandError: there are no credentials, or no service.
    """
    variables = _variables()
    headers = _client(variables) or _admin(variables)
    if headers is None:
        raise CommandError(
            f"Set {_TOKEN} (client id and key with a colon between), or "
            f"{_ADMIN_KEY} to the key of the service"
        )
    with _connected(server, variables, headers) as user:
        yield user


@contextlib.contextmanager
def admin_of(server: str | None) -> Iterator[RestClient]:
    """Be the admin of a service.

    Raises:
        CommandError: there is no admin key, or no service.
    """
    variables = _variables()
    headers = _admin(variables)
    if headers is None:
        raise CommandError(
            f"{_ADMIN_KEY} is not set (in the environment or in .env): "
            "models are made by the admin"
        )
    with _connected(server, variables, headers) as admin:
        yield admin


@contextlib.contextmanager
def given_client(url: str) -> Iterator[RestClient]:
    """Be the environment's client of a server.

    Raises:
        CommandError: there are no credentials, or no server.
    """
    headers = _client(os.environ)
    if headers is None:
        raise CommandError(
            f"With --server, set {CLIENT_ID_VARIABLE} and "
            f"{CLIENT_KEY_VARIABLE} to the client's credentials, or "
            f"{_TOKEN} to both with a colon between"
        )
    if not url.startswith(("http://", "https://")):
        raise CommandError(
            "--server needs a URL, such as http://127.0.0.1:8001"
        )
    with RestClient(url, headers) as client:
        client.check()
        yield client


@contextlib.contextmanager
def _connected(
    server: str | None,
    variables: Mapping[str, str],
    headers: Mapping[str, str],
) -> Iterator[RestClient]:
    url = server or variables.get(URL_VARIABLE)
    url = url or f"http://127.0.0.1:{variables.get('PORT') or _PORT}"
    if not url.startswith(("http://", "https://")):
        raise CommandError(
            f"{url} is no URL, such as http://127.0.0.1:{_PORT}"
        )
    with RestClient(url, headers) as client:
        client.check()
        yield client


def _client(variables: Mapping[str, str]) -> dict[str, str] | None:
    client_id, _, key = variables.get(_TOKEN, "").partition(":")
    client_id = client_id or variables.get(CLIENT_ID_VARIABLE, "")
    key = key or variables.get(CLIENT_KEY_VARIABLE, "")
    if not (client_id and key):
        return None
    return {"client-id": client_id, "client-api-key": key}


def _admin(variables: Mapping[str, str]) -> dict[str, str] | None:
    key = variables.get(_ADMIN_KEY)
    return {"admin-api-key": key} if key else None


def _variables() -> dict[str, str]:
    """Give the environment's variables, and those of .env behind them."""
    try:
        found = dotenv_values(_ENV_FILE, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(
            f"Cannot read {_ENV_FILE}: {reason(error)}"
        ) from None
    filed = {name: value for name, value in found.items() if value}
    return {**filed, **os.environ}
