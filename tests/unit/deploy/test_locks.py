"""The locks: in step with pyproject.toml, and with hashes."""

import re
import tomllib
from typing import Any

import pytest

from tests.support.paths import ROOT

_PROJECT: dict[str, Any] = tomllib.loads(
    (ROOT / "pyproject.toml").read_text(encoding="utf-8")
)
_LOCKS = {
    "requirements.lock": _PROJECT["project"]["dependencies"],
    "requirements-local-llm.lock": _PROJECT["project"][
        "optional-dependencies"
    ]["local-llm"],
    "requirements-dev.lock": _PROJECT["dependency-groups"]["dev"],
    "requirements-build.lock": _PROJECT["dependency-groups"]["build"],
    "requirements-browser.lock": _PROJECT["dependency-groups"]["browser"],
    "requirements-tools.lock": [
        requirement
        for group in ("fuzz", "bench", "sbom")
        for requirement in _PROJECT["dependency-groups"][group]
    ],
}
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _pins(name: str) -> set[str]:
    """Name what a lock pins, as NAME==VERSION."""
    return set(re.findall(r"^([^\s#]+==[^\s;]+)", _text(name), re.MULTILINE))


def _normal(requirement: str) -> str:
    match = _NAME.match(requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match[0]).lower()


@pytest.mark.parametrize("name", _LOCKS)
def test_every_version_has_hashes(name: str) -> None:
    entries = re.split(r"\n(?=\S)", _text(name).strip())
    assert entries
    for entry in entries:
        assert re.match(r"\S+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("name", _LOCKS)
def test_all_that_is_asked_for_is_locked(name: str) -> None:
    """`make lock` brings it in step."""
    locked = {_normal(pin) for pin in _pins(name)}
    assert {_normal(each) for each in _LOCKS[name]} <= locked


@pytest.mark.parametrize("name", _LOCKS)
def test_versions_are_those_of_the_constraints(name: str) -> None:
    assert _pins(name) <= _pins("constraints.txt")


@pytest.mark.parametrize("name", [*_LOCKS, "constraints.txt"])
def test_no_registry_is_named(name: str) -> None:
    assert "://" not in _text(name)


def test_the_build_tool_is_exact() -> None:
    (requirement,) = _PROJECT["build-system"]["requires"]
    assert requirement in _pins("requirements-build.lock")
    assert any(p.startswith("uv==") for p in _pins("requirements-build.lock"))
