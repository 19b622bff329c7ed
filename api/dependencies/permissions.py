"""What the policy says of a request, and whose things it is about."""

from fastapi import Request
from starlette._utils import get_route_path  # by which routes are chosen

from api.core.errors import ForbiddenError
from api.dependencies.services import get_services
from api.services.access.identity import Identity
from api.services.shared.caller import Caller

_REFUSED = "Your roles do not allow this; the Admin API key does"
_NOT_ALL = (
    "This is open for all clients only, or with the Admin API key; your "
    "sign-in is for some of them"
)


def check_policy(request: Request, identity: Identity) -> None:
    """Let pass what one of the roles allows.

    Raises:
        ForbiddenError: none does.
    """
    path = get_route_path(request.scope)
    access = get_services(request).access
    decision = access.decide(identity, request.method, path)
    if not decision.is_allowed:
        # For the audit: the roles and rules are not told to the caller.
        request.state.refused_by = str(decision)
        request.state.identity = identity
        raise ForbiddenError(_REFUSED)


def check_all_clients(request: Request, identity: Identity) -> None:
    """Let pass whoever has all clients, or the one that the path names.

    Raises:
        ForbiddenError: what is asked is about others, too.
    """
    if identity.clients is None:
        return
    named = request.path_params.get("client_id")
    if named is None or not identity.may_act_for(named):
        request.state.identity = identity
        raise ForbiddenError(_NOT_ALL)


def caller_of(identity: Identity, client_id: str | None) -> Caller:
    """Give what services need to know of somebody who has signed in.

    With all clients open, a person sees what the administrator sees; what
    may be done with it, the policy has decided. Of one client only, that
    one need not be named.
    """
    scope = identity.clients
    if scope is None:
        return Caller(client_id, is_admin=True, subject=identity.actor)
    if client_id is None and len(scope) == 1:
        client_id = next(iter(scope))
    return Caller(client_id, clients=scope, subject=identity.actor)
