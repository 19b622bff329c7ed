"""Rules of a policy: methods and paths, or packages of the WebSocket.

`GET,POST /jobs/*/cancel` is a rule for paths. `*` stands for one segment,
`**` at the end for any number of them, also for none. `*` as the method
stands for all. Packages are named, with `*` for any part of a name.
"""

import re
from dataclasses import dataclass

MOST_RULES = 500
_LONGEST_RULE = 300
_METHODS = frozenset(
    {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
)
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+|/\*)*(/\*\*)?/?")
_PACKAGE = re.compile(r"[A-Za-z0-9._:*-]{1,100}")
# A page that may be read may also be asked for its headers.
_AS = {"HEAD": "GET"}


class RuleTextError(ValueError):
    """A rule of a policy cannot be read; says which and why."""


@dataclass(frozen=True, slots=True)
class PathRule:
    """Some methods of some paths; `methods` None means all."""

    text: str
    methods: frozenset[str] | None
    pattern: re.Pattern[str]

    def matches(self, method: str, path: str) -> bool:
        """Tell whether it speaks of this request.

        `path` is decoded and without the prefix of a proxy: the same text
        that chooses the route.
        """
        method = _AS.get(method, method)
        if self.methods is not None and method not in self.methods:
            return False
        return self.pattern.fullmatch(path) is not None


def read_path_rule(text: str) -> PathRule:
    """Read a rule for paths.

    Raises:
        RuleTextError: it is none.
    """
    methods, _, path = text.strip().partition(" ")
    path = path.strip()
    if len(text) > _LONGEST_RULE or not path or not _PATH.fullmatch(path):
        raise RuleTextError(
            f"{text[:_LONGEST_RULE]!r} is no rule; write it as "
            "'GET,POST /jobs/*/cancel', with ** only at the end"
        )
    return PathRule(text.strip(), _methods_of(methods), _pattern_of(path))


def _methods_of(text: str) -> frozenset[str] | None:
    if text == "*":
        return None
    methods = frozenset(_AS.get(each, each) for each in text.split(","))
    if unknown := sorted(methods - _METHODS):
        raise RuleTextError(f"{unknown[0]!r} is no method, in upper case")
    return methods


def _pattern_of(path: str) -> re.Pattern[str]:
    segments = path.strip("/").split("/") if path.strip("/") else []
    parts = []
    for segment in segments:
        if segment == "**":
            parts.append("(?:/.*)?")
        elif segment == "*":
            parts.append("/[^/]+")
        else:
            parts.append("/" + re.escape(segment))
    # A line break in a path is a character like others.
    return re.compile("".join(parts) or "/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PackageRule:
    """Packages of the WebSocket, by their ids."""

    text: str
    pattern: re.Pattern[str]

    def matches(self, package_id: str) -> bool:
        """Tell whether it speaks of this package."""
        return self.pattern.fullmatch(package_id) is not None


def read_package_rule(text: str) -> PackageRule:
    """Read a rule for packages.

    Raises:
        RuleTextError: it is none.
    """
    if not _PACKAGE.fullmatch(text):
        raise RuleTextError(f"{text[:_LONGEST_RULE]!r} names no packages")
    parts = [re.escape(part) for part in text.split("*")]
    return PackageRule(text, re.compile(".*".join(parts)))
