"""Explains what a policy lets somebody do."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import typer

from api.services.access.build import claim_names
from api.services.access.claims import ClaimNames, identity_of
from api.services.access.identity import Identity, SignedInBy
from api.services.access.policy import Policy, Role
from api.services.access.policy_file import PolicyFileError, load_policy
from cli.errors import CommandError
from config import Settings, SettingsError

_PACKAGE = "WS"


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a user may do something."""

    user: str
    method: str
    path: str
    roles: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    claims: Path | None = None


def answer(question: Question, path: Path | None) -> int:
    """Print the decision with its reason; return the exit status.

    Raises:
        CommandError: the policy or the claims cannot be read.
    """
    policy, names = _loaded(path)
    if unknown := sorted(set(question.roles) - policy.roles.keys()):
        known = ", ".join(sorted(policy.roles))
        raise CommandError(f"There is no role {unknown[0]}; there are {known}")
    identity = _identity(question, policy, names)
    method = question.method.upper()
    if method == _PACKAGE:
        decision = policy.decide_package(identity.roles, question.path)
    else:
        # As the service sees it: decoded, without the query.
        asked = unquote(urlsplit(question.path).path)
        decision = policy.decide(identity.roles, method, asked)
    typer.echo(f"{question.user}: {decision}")
    typer.echo(f"roles: {', '.join(sorted(identity.roles)) or 'none'}")
    typer.echo(f"clients: {_scope(identity)}")
    return 0 if decision.is_allowed else 1


def show_roles(path: Path | None) -> None:
    """Print all roles of a policy.

    Raises:
        CommandError: it cannot be read.
    """
    policy, _ = _loaded(path)
    for role in policy.roles.values():
        typer.echo("\n".join(_described(role)))


def _described(role: Role) -> Iterator[str]:
    yield role.name + (" (all clients)" if role.all_clients else "")
    if role.includes:
        yield f"  includes {', '.join(each.name for each in role.includes)}"
    for word, texts in (
        ("allow", [rule.text for rule in role.paths.allow]),
        ("deny", [rule.text for rule in role.paths.deny]),
        ("packages", [rule.text for rule in role.packages.allow]),
        ("deny packages", [rule.text for rule in role.packages.deny]),
    ):
        for text in texts:
            yield f"  {word} {text}"


def _identity(
    question: Question, policy: Policy, names: ClaimNames
) -> Identity:
    claims = _claims(question.claims)
    claims.setdefault("sub", question.user)
    # A user of the policy may be named by the address.
    claims |= {"email": question.user, "email_verified": True}
    claims[names.roles] = [*_list(claims.get(names.roles)), *question.roles]
    if question.clients:
        claims[names.clients] = list(question.clients)
    return identity_of(claims, policy, names, SignedInBy.BEARER)


def _list(found: object) -> list[Any]:
    if isinstance(found, str):
        return found.split()
    return found if isinstance(found, list) else []


def _scope(identity: Identity) -> str:
    if identity.clients is None:
        return "all"
    return ", ".join(sorted(identity.clients)) or "none"


def _claims(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise CommandError(f"{path} must be a JSON object of claims")
    return found


def _loaded(path: Path | None) -> tuple[Policy, ClaimNames]:
    names = ClaimNames()
    if path is None:
        try:
            settings = Settings.load()
        except SettingsError:
            # Without settings, the built-in policy can be asked.
            typer.echo("No valid settings: the built-in policy", err=True)
        else:
            path, names = settings.access_policy, claim_names(settings)
    try:
        return load_policy(path), names
    except PolicyFileError as error:
        raise CommandError(str(error)) from None
