"""Who is calling, and whom a path lets through.

Whatever a path needs, every credential that was sent is checked: a wrong
one is never treated as none.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from api.core import openapi
from api.core.errors import (
    AuthenticationError,
    ForbiddenError,
    InvalidRequestError,
)
from api.dependencies.admin_auth import IsAdmin, optional_admin_auth
from api.dependencies.client_auth import SomeClient, optional_client_auth
from api.dependencies.identities import (
    SomeIdentity,
    identify,
    optional_identity,
)
from api.dependencies.permissions import (
    caller_of,
    check_all_clients,
    check_policy,
)
from api.dependencies.scrape_auth import verify_scraper
from api.dependencies.services import services_of
from api.dependencies.signed_in import has_key, signed_in
from api.services.access.identity import (
    Identity,
    SignedInBy,
    administrator,
    client_itself,
)
from api.services.shared.caller import EITHER_IS_NEEDED, Caller
from utilities.cosmos_connector import StoreError, current_actor


@dataclass(frozen=True, slots=True)
class Sender:
    """What a request's credentials have shown, before any path is asked.

    `client_id` is the client that asks, or that is asked for.
    """

    request: Request
    is_admin: bool
    identity: Identity | None
    client_id: str | None


async def sender_of(
    request: Request,
    is_admin: IsAdmin,
    identity: SomeIdentity,
    client: SomeClient,
) -> Sender:
    """Put together what the credentials have shown."""
    return Sender(request, is_admin, identity, client)


ASender = Annotated[Sender, Depends(sender_of)]


async def verify_admin_api_key(sender: ASender) -> None:
    """Let only the administrator through, or whom the policy lets.

    Raises:
        AuthenticationError: no key came, or a wrong one.
        ForbiddenError: whoever has signed in may not do this.
    """
    if sender.identity is not None:
        check_policy(sender.request, sender.identity)
        check_all_clients(sender.request, sender.identity)
    elif not sender.is_admin:
        raise AuthenticationError("Admin API key is required")
    _acting(sender)


async def verify_caller(sender: ASender) -> Caller:
    """Return who is calling: a client, the administrator, or a person.

    Raises:
        AuthenticationError: there is no credential.
        ForbiddenError: whoever has signed in may not do this.
    """
    if sender.identity is not None:
        check_policy(sender.request, sender.identity)
    elif not sender.is_admin and sender.client_id is None:
        raise AuthenticationError(EITHER_IS_NEEDED)
    return _acting(sender)


async def verify_client_auth(sender: ASender) -> Caller:
    """Let only a client through, or somebody for a client.

    Raises:
        AuthenticationError: no client is named.
        ForbiddenError: whoever has signed in may not do this.
        RuleError: that somebody has several clients, and names none.
    """
    if sender.identity is not None:
        check_policy(sender.request, sender.identity)
    if sender.identity is None and sender.client_id is None:
        raise AuthenticationError("Client ID is required")
    caller = _acting(sender)
    caller.require_client()
    return caller


async def verify_anybody(sender: ASender) -> Identity:
    """Return who is calling, whatever that somebody may do.

    Raises:
        AuthenticationError: there is no credential.
    """
    identity = identity_of_sender(sender)
    if identity is None:
        raise AuthenticationError(EITHER_IS_NEEDED)
    sender.request.state.identity = identity
    return identity


async def verify_person(sender: ASender) -> Identity:
    """Return who is calling: not a client, and allowed by the policy.

    Raises:
        AuthenticationError: there is no credential.
        ForbiddenError: a client calls, or somebody who may not do this.
    """
    identity = await verify_anybody(sender)
    if identity.by is SignedInBy.CLIENT_KEY:
        raise ForbiddenError("This needs a sign-in, or the Admin API key")
    if sender.identity is not None:
        check_policy(sender.request, identity)
    current_actor.set(identity.actor)
    return identity


async def key_caller_of(connection: HTTPConnection) -> Caller:
    """Return who opens a WebSocket, by a key or the console's session.

    Raises:
        AuthenticationError: there is no such credential, or a wrong one.
    """
    refuse_contradictions(connection.headers)
    is_admin, client = await _checked(connection, None)
    if not is_admin and client is None:
        raise AuthenticationError(EITHER_IS_NEEDED)
    return Caller(client, is_admin)


async def still_known(request: HTTPConnection, caller: Caller) -> bool:
    """Tell whether who has called may still call, while the answer goes on.

    Sessions end, keys are replaced, clients are disabled.
    """
    services, headers = services_of(request), request.headers
    key = headers.get("client_api_key") or headers.get("client-api-key")
    try:
        if key is not None and caller.client_id is not None:
            await services.clients.authenticate(caller.client_id, key)
        elif getattr(request.state, "proved_identity", None) is not None:
            return await identify(request, services) is not None
        elif not has_key(request):
            person = await signed_in(request, anew=True)
            return person is not None
    except (AuthenticationError, StoreError) as error:
        # While the database is away, nothing new is shown either.
        return isinstance(error, StoreError)
    return True


def identity_of_sender(sender: Sender) -> Identity | None:
    """Return who a sender is, also by a key; None is nobody."""
    if sender.identity is not None:
        return sender.identity
    if sender.is_admin:
        return administrator()
    return client_itself(sender.client_id) if sender.client_id else None


def _acting(sender: Sender) -> Caller:
    if sender.identity is None:
        caller = Caller(sender.client_id, sender.is_admin)
    else:
        caller = caller_of(sender.identity, sender.client_id)
    sender.request.state.identity = identity_of_sender(sender)
    current_actor.set(caller.name)
    return caller


_CREDENTIALS = {
    b"client_id": "Invalid client credentials",
    b"client_api_key": "Invalid client credentials",
    b"admin_api_key": "Invalid admin API key",
}
_IDEMPOTENCY_KEY = b"idempotency_key"


def refuse_contradictions(headers: Headers) -> None:
    """Refuse a header that came twice with different values.

    Frameworks and proxies differ in which one they take: nobody can tell
    which was meant, and one of two credentials is wrong.

    Raises:
        AuthenticationError: it is a credential.
        InvalidRequestError: it is an idempotency key.
    """
    sent: dict[bytes, bytes] = {}
    for spelt, value in headers.raw:
        name = spelt.replace(b"-", b"_")
        if name not in _CREDENTIALS and name != _IDEMPOTENCY_KEY:
            continue
        if sent.setdefault(name, value) == value:
            continue
        if name in _CREDENTIALS:
            raise AuthenticationError(_CREDENTIALS[name])
        raise InvalidRequestError(
            "header_repeated",
            ("header", "Idempotency-Key"),
            "Idempotency-Key was sent twice with different values",
        )


Guard = Callable[[Sender], Awaitable[Any]]


async def check_before_body(request: Request, guards: list[Guard]) -> None:
    """Check who is calling by the headers alone.

    FastAPI reads and parses a body before it looks at any dependency; this
    comes before that, by the same rules.

    Raises:
        AuthenticationError: as the guards raise it.
    """
    identity = await optional_identity(request, services_of(request))
    is_admin, client = await _checked(request, identity)
    sender = Sender(request, is_admin, identity, client)
    for guard in guards:
        await guard(sender)


async def _checked(
    connection: HTTPConnection, identity: Identity | None
) -> tuple[bool, str | None]:
    services, headers = services_of(connection), connection.headers
    is_admin = await optional_admin_auth(
        connection,
        services,
        headers.get("admin_api_key"),
        headers.get("admin-api-key"),
    )
    client = await optional_client_auth(
        connection,
        services,
        is_admin,
        identity,
        headers.get("client_id"),
        headers.get("client_api_key"),
        headers.get("client-id"),
        headers.get("client-api-key"),
    )
    return is_admin, client


# Which of the guards below stand before paths with a body.
BEFORE_BODY: tuple[Guard, ...] = (
    verify_admin_api_key,
    verify_caller,
    verify_client_auth,
    verify_anybody,
    verify_person,
)

# What the interface's description says of those who depend on each.
GUARDS: openapi.Guards = {
    verify_admin_api_key: openapi.BY_ADMIN,
    verify_caller: openapi.BY_ANYONE_KNOWN,
    verify_client_auth: openapi.BY_CLIENT,
    verify_anybody: openapi.BY_ANYBODY,
    verify_person: openapi.BY_PERSON,
    verify_scraper: openapi.BY_SCRAPER,
}

Anybody = Annotated[Identity, Depends(verify_anybody)]
Person = Annotated[Identity, Depends(verify_person)]
AnyCaller = Annotated[Caller, Depends(verify_caller)]
ClientCaller = Annotated[Caller, Depends(verify_client_auth)]
