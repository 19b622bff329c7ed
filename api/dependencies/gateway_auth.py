"""Clients that use the vendors' libraries: one token has id and key."""

from fastapi import Request
from starlette.datastructures import Headers

from api.core.addresses import address_of
from api.core.errors import AuthenticationError, WrongKeyError
from api.dependencies.client_auth import authenticated, count_request
from api.dependencies.services import get_services
from api.services.access.identity import client_itself
from api.services.clients.client_keys import ClientKey
from api.services.clients.client_service import WRONG_CREDENTIALS
from api.services.gateway.cleaning import is_secret_parameter
from utilities.cosmos_connector import current_actor

_BEARER = "bearer "
_NEEDED = (
    "No API key was sent. Send `Authorization: Bearer "
    "{client_id}:{client_api_key}` or the same as `x-api-key`"
)


async def gateway_client(request: Request) -> ClientKey:
    """Return the client that asks, by its headers alone.

    Raises:
        AuthenticationError: no credentials came, or wrong ones.
        TooManyFailedLoginsError: wrong ones, as many times before.
        TooManyRequestsError: the client has used up its limit.
    """
    return await _client(request, _sent(request.headers))


async def proxy_client(request: Request) -> ClientKey:
    """Return the client that asks the proxy, and keep its key beside it.

    It sends its token wherever the provider's own clients have the key.

    Raises:
        AuthenticationError: as `gateway_client`, and the others.
    """
    names = (b"api-key", b"x-goog-api-key")
    sent = _sent(request.headers) | {
        value.decode("latin-1")
        for raw, value in request.headers.raw
        if raw in names
    }
    sent = sent or _in_query(request)
    client = await _client(request, sent)
    (token,) = sent
    request.state.client_secret = token.partition(":")[2]
    return client


def _in_query(request: Request) -> set[str]:
    return {
        value
        for name, value in request.query_params.multi_items()
        if is_secret_parameter(name)
    }


async def _client(request: Request, sent: set[str]) -> ClientKey:
    services = get_services(request)
    client_id, key = _credentials(request, sent)
    client = await authenticated(request, services, client_id, key)
    await count_request(request, services, client)
    current_actor.set(client.client_id)
    request.state.identity = client_itself(client.client_id)
    return client


def _credentials(request: Request, sent: set[str]) -> tuple[str, str]:
    if not sent:
        raise AuthenticationError(_NEEDED)
    if len(sent) > 1:
        # Nobody can tell which was meant, and one of them is wrong.
        raise AuthenticationError(WRONG_CREDENTIALS)
    client_id, colon, key = next(iter(sent)).partition(":")
    if not colon or not client_id:
        logins = get_services(request).login_limits
        logins.failed(address_of(request.scope))
        raise WrongKeyError(WRONG_CREDENTIALS)
    return client_id, key


def _sent(headers: Headers) -> set[str]:
    """Return the different tokens that came, in whatever header."""
    sent, ids, keys = set(), set(), set()
    for raw, value in headers.raw:
        name, text = raw.replace(b"_", b"-"), value.decode("latin-1")
        if name == b"x-api-key":
            sent.add(text)
        elif name == b"authorization":
            is_bearer = text[: len(_BEARER)].lower() == _BEARER
            sent.add(text[len(_BEARER) :].strip() if is_bearer else text)
        elif name == b"client-id":
            ids.add(text)
        elif name == b"client-api-key":
            keys.add(text)
    if ids or keys:
        sent.add(f"{':'.join(ids)}:{':'.join(keys)}")
    return sent
