"""The policy: which roles there are, and what each of them may do.

What no rule allows is refused. A rule of `deny` takes back what its own
role, or one that it includes, allows. It says nothing of roles that
include its own, nor of others that somebody has beside it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from api.services.access.rules import PackageRule, PathRule


class _Rule(Protocol):
    @property
    def text(self) -> str: ...


R = TypeVar("R", bound=_Rule)
_Matches = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Rules(Generic[R]):
    """What a role says itself of paths, or of packages."""

    allow: tuple[R, ...] = ()
    deny: tuple[R, ...] = ()

    def allowing(self, matches: _Matches) -> str | None:
        """Return the first rule that allows it."""
        return next((r.text for r in self.allow if matches(r)), None)

    def denying(self, matches: _Matches) -> str | None:
        """Return the first rule that denies it."""
        return next((r.text for r in self.deny if matches(r)), None)


@dataclass(frozen=True, slots=True)
class Role:
    """What one role may do.

    `all_clients` opens all clients for whoever has the role, without a
    claim that says so.
    """

    name: str
    paths: Rules[PathRule] = field(default_factory=Rules)
    packages: Rules[PackageRule] = field(default_factory=Rules)
    includes: tuple["Role", ...] = ()
    all_clients: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something may be done, and what decided it.

    `refusals` are the roles that refuse, each with its rule of `deny` if
    one did.
    """

    is_allowed: bool
    role: str | None = None
    rule: str | None = None
    refusals: tuple[tuple[str, str | None], ...] = ()

    def __str__(self) -> str:
        if self.is_allowed:
            return f"allowed by the rule {self.rule!r} of the role {self.role}"
        if not self.refusals:
            return "refused: there is no role"
        reasons = [
            f"the role {role} denies it with {rule!r}"
            if rule
            else f"no rule of the role {role} allows it"
            for role, rule in self.refusals
        ]
        return "refused: " + "; ".join(reasons)


@dataclass(frozen=True, slots=True)
class Grant:
    """Roles and clients that somebody is given; None means all clients."""

    roles: frozenset[str] = frozenset()
    clients: frozenset[str] | None = frozenset()

    def __or__(self, other: "Grant") -> "Grant":
        if self.clients is None or other.clients is None:
            return Grant(self.roles | other.roles, None)
        return Grant(self.roles | other.roles, self.clients | other.clients)


NOTHING = Grant()


@dataclass(frozen=True)
class Policy:
    """All roles, and who is given which beside what a provider says.

    `users` are found by subject, or by an e-mail address that the provider
    has verified. `role_values` and `client_values` say what a value of the
    provider's claims gives; without an entry, a value is the name of a
    role, or the id of a client. `everybody` is what all have who sign in.
    """

    roles: Mapping[str, Role]
    users: Mapping[str, Grant] = field(default_factory=dict)
    role_values: Mapping[str, frozenset[str]] = field(default_factory=dict)
    client_values: Mapping[str, frozenset[str]] = field(default_factory=dict)
    everybody: Grant = NOTHING

    def decide(self, roles: Iterable[str], method: str, path: str) -> Decision:
        """Decide about a request to the HTTP interface."""
        return self._decided(
            roles,
            lambda role: role.paths,
            lambda rule: rule.matches(method, path),
        )

    def decide_package(
        self, roles: Iterable[str], package_id: str
    ) -> Decision:
        """Decide about a package of the WebSocket."""
        return self._decided(
            roles,
            lambda role: role.packages,
            lambda rule: rule.matches(package_id),
        )

    def completed(self, grant: Grant) -> Grant:
        """Leave out unknown roles; open all clients if a role does."""
        known = grant.roles & self.roles.keys()
        is_open = any(self.roles[name].all_clients for name in known)
        return Grant(known, None if is_open else grant.clients)

    def _decided(
        self,
        names: Iterable[str],
        rules_of: Callable[[Role], Rules[Any]],
        matches: _Matches,
    ) -> Decision:
        refusals: list[tuple[str, str | None]] = []
        for name in sorted(self.roles.keys() & set(names)):
            decision = _of_role(self.roles[name], rules_of, matches)
            if decision.is_allowed:
                return decision
            refusals += decision.refusals
        return Decision(is_allowed=False, refusals=tuple(refusals))


def _of_role(
    role: Role, rules_of: Callable[[Role], Rules[Any]], matches: _Matches
) -> Decision:
    own = rules_of(role)
    denying = own.denying(matches)
    if denying is not None:
        return Decision(is_allowed=False, refusals=((role.name, denying),))
    allowing = own.allowing(matches)
    if allowing is not None:
        return Decision(is_allowed=True, role=role.name, rule=allowing)
    for included in role.includes:
        decision = _of_role(included, rules_of, matches)
        if decision.is_allowed:
            return decision
    return Decision(is_allowed=False, refusals=((role.name, None),))
