"""Reads a policy from a file: TOML, JSON or YAML, by its ending."""

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from api.services.access.built_in_policy import BUILT_IN
from api.services.access.policy import Grant, Policy, Role, Rules
from api.services.access.rules import (
    MOST_RULES,
    RuleTextError,
    read_package_rule,
    read_path_rule,
)
from config import SettingsError

_LARGEST_FILE = 1024 * 1024
_MOST_ENTRIES = 10_000
EVERY_CLIENT: Final = "*"

T = TypeVar("T")
_RuleTexts = Annotated[list[str], Field(max_length=MOST_RULES)]
_Names = Annotated[list[str], Field(max_length=_MOST_ENTRIES)]
_ByValue = Annotated[dict[str, _Names], Field(max_length=_MOST_ENTRIES)]


class PolicyFileError(SettingsError):
    """A policy cannot be read; says what is wrong, and where."""


class _Part(BaseModel):
    # A mistyped name must not silently mean nothing.
    model_config = ConfigDict(
        extra="forbid", alias_generator=to_camel, strict=True
    )


class _Role(_Part):
    includes: _Names = []
    allow: _RuleTexts = []
    deny: _RuleTexts = []
    packages: _RuleTexts = []
    deny_packages: _RuleTexts = []
    all_clients: bool = False


class _Grant(_Part):
    roles: _Names = []
    clients: _Names = []


class _Claims(_Part):
    roles: _ByValue = {}
    clients: _ByValue = {}


class _File(_Part):
    roles: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")],
            _Role,
        ],
        Field(max_length=_MOST_ENTRIES),
    ] = {}
    users: Annotated[dict[str, _Grant], Field(max_length=_MOST_ENTRIES)] = {}
    everybody: _Grant = _Grant()
    claims: _Claims = _Claims()


def load_policy(path: Path | None) -> Policy:
    """Read the policy of a file; None is the built-in one.

    Raises:
        PolicyFileError: it cannot be read.
    """
    if path is None:
        return read_policy({})
    try:
        return read_policy(_content(path))
    except PolicyFileError as error:
        raise PolicyFileError(f"{path}: {error}") from None


def read_policy(content: Mapping[str, Any]) -> Policy:
    """Make the policy of a file's content, over the built-in roles.

    Raises:
        PolicyFileError: it is not right.
    """
    built_in, own = _checked(BUILT_IN), _checked(content)
    roles = _Roles({**built_in.roles, **own.roles}).made()
    policy = Policy(
        roles,
        {
            name: read_grant(g.roles, g.clients)
            for name, g in own.users.items()
        },
        _by_value(own.claims.roles),
        _by_value(own.claims.clients),
        read_grant(own.everybody.roles, own.everybody.clients),
    )
    _check_names(policy)
    return policy


def read_grant(roles: list[str], clients: list[str]) -> Grant:
    """Make a grant; `*` among the clients means all."""
    scope = None if EVERY_CLIENT in clients else frozenset(clients)
    return Grant(frozenset(roles), scope)


def _by_value(given: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    return {value: frozenset(names) for value, names in given.items()}


def _checked(content: Mapping[str, Any]) -> _File:
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        raise PolicyFileError(f"{where}: {problem['msg']}") from None


def _check_names(policy: Policy) -> None:
    """Refuse roles that are not there: they would silently give nothing."""
    grants = [*policy.users.items(), ("everybody", policy.everybody)]
    named = [(where, grant.roles) for where, grant in grants]
    named += list(policy.role_values.items())
    for where, names in named:
        if unknown := sorted(names - policy.roles.keys()):
            raise PolicyFileError(
                f"{where}: there is no role {unknown[0]}; there are "
                f"{', '.join(sorted(policy.roles))}"
            )


class _Roles:
    """Makes roles of what a file says, with what each includes."""

    def __init__(self, given: Mapping[str, _Role]) -> None:
        self._given = given
        self._made: dict[str, Role] = {}

    def made(self) -> dict[str, Role]:
        return {name: self._role(name, ()) for name in self._given}

    def _role(self, name: str, within: tuple[str, ...]) -> Role:
        if name in within:
            raise PolicyFileError(
                f"roles.{name}: it includes itself, by "
                f"{' > '.join((*within, name))}"
            )
        if name in self._made:
            return self._made[name]
        if name not in self._given:
            raise PolicyFileError(
                f"roles.{within[-1]}.includes: there is no role {name}"
            )
        given = self._given[name]
        includes = tuple(
            self._role(each, (*within, name)) for each in given.includes
        )
        self._made[name] = Role(
            name,
            Rules(
                _rules(name, "allow", given.allow, read_path_rule),
                _rules(name, "deny", given.deny, read_path_rule),
            ),
            Rules(
                _rules(name, "packages", given.packages, read_package_rule),
                _rules(
                    name,
                    "denyPackages",
                    given.deny_packages,
                    read_package_rule,
                ),
            ),
            includes,
            given.all_clients,
        )
        return self._made[name]


def _rules(
    role: str, part: str, texts: list[str], read: Callable[[str], T]
) -> tuple[T, ...]:
    try:
        return tuple(read(text) for text in texts)
    except RuleTextError as error:
        raise PolicyFileError(f"roles.{role}.{part}: {error}") from None


def _content(path: Path) -> Mapping[str, Any]:
    text = _text(path)
    readers: dict[str, Callable[[str], Any]] = {
        ".toml": tomllib.loads,
        ".json": json.loads,
        ".yaml": yaml.safe_load,
        ".yml": yaml.safe_load,
    }
    read = readers.get(path.suffix.lower())
    if read is None:
        raise PolicyFileError("its name must end in .toml, .json or .yaml")
    try:
        content = read(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise PolicyFileError(f"it cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise PolicyFileError("it must have tables such as `roles`")
    return content


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
        if len(raw) > _LARGEST_FILE:
            raise PolicyFileError("it is larger than 1 MiB")
        return raw.decode()
    except OSError as error:
        raise PolicyFileError(
            f"it cannot be opened: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise PolicyFileError("it is not UTF-8 text") from None
