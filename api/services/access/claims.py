"""From the claims of a provider to an identity."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from api.services.access.identity import Identity, SignedInBy
from api.services.access.policy import Grant, Policy
from api.services.access.policy_file import EVERY_CLIENT

Claims = Mapping[str, Any]

_MOST_VALUES = 1000
_LONGEST_VALUE = 256
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Which claims say what; dots lead into objects."""

    roles: str = "roles"
    clients: str = "clients"
    name: str = "preferred_username"


def identity_of(
    claims: Claims, policy: Policy, names: ClaimNames, by: SignedInBy
) -> Identity:
    """Make the identity of claims that have been checked."""
    subject = str(claims["sub"])
    grant = policy.completed(_granted(claims, policy, names))
    return Identity(
        subject, _name(claims, names), grant.roles, grant.clients, by
    )


def _granted(claims: Claims, policy: Policy, names: ClaimNames) -> Grant:
    roles = _mapped(_values(claims, names.roles), policy.role_values)
    clients = _mapped(_values(claims, names.clients), policy.client_values)
    every = EVERY_CLIENT in clients
    granted = Grant(roles, None if every else clients) | policy.everybody
    for user in _users(claims):
        granted |= policy.users.get(user, Grant())
    return granted


def _users(claims: Claims) -> Iterable[str]:
    """Give what the policy may call this user by.

    Anybody can call themselves by any address at some providers.
    """
    yield str(claims["sub"])
    email = claims.get("email")
    if isinstance(email, str) and claims.get("email_verified") is True:
        yield email


def _mapped(
    values: Iterable[str], given: Mapping[str, frozenset[str]]
) -> frozenset[str]:
    found: set[str] = set()
    for value in values:
        found |= given.get(value, {value})
    return frozenset(found)


def _values(claims: Claims, path: str) -> list[str]:
    """Read a claim: a list of texts, or a text with blanks between."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        found = found.split()
    if not isinstance(found, list):
        return []
    return [
        each
        for each in found[:_MOST_VALUES]
        if isinstance(each, str) and len(each) <= _LONGEST_VALUE
    ]


def _name(claims: Claims, names: ClaimNames) -> str:
    for claim in (names.name, "email", "name", "sub"):
        found = claims.get(claim)
        if isinstance(found, str) and found.strip():
            # It is shown and logged.
            printable = "".join(c if c.isprintable() else " " for c in found)
            return printable.strip()[:_LONGEST_NAME]
    return str(claims["sub"])[:_LONGEST_NAME]
