"""Checks of this machine: Python, packages, files, disk and port."""

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from cli.doctor.findings import Finding, fail, ok, warn
from cli.errors import CommandError, reason
from cli.ports import check_port
from cli.secrets_file import readable_by_others
from cli.version import version

_OLDEST_PYTHON = (3, 11)
_PACKAGES = ("fastapi", "pymongo", "nx-27017", "openai")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^>=;]*>=([0-9.]+)")
_GIB = 1024**3
_LITTLE_SPACE = _GIB
_NO_SPACE = _GIB // 10


def check_python() -> Finding:
    """Check the interpreter's version."""
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _OLDEST_PYTHON:
        return fail("python", f"Python {running}", "Use Python 3.11 or newer")
    return ok("python", f"Python {running}, Metasync {version()}")


def check_packages() -> Finding:
    """Check that what Metasync needs is installed, and new enough."""
    try:
        requirements = metadata.requires("metasync") or []
    except metadata.PackageNotFoundError:
        return warn(
            "packages",
            "Metasync runs from a directory and is not installed",
            "Install it: make setup, or pip install .",
        )
    problems = list(filter(None, map(_problem, requirements)))
    if problems:
        return fail(
            "packages",
            "; ".join(problems),
            "Install Metasync again: make setup, or pip install metasync",
        )
    shown = ", ".join(f"{n} {metadata.version(n)}" for n in _PACKAGES)
    return ok("packages", shown)


def _problem(requirement: str) -> str | None:
    match = _REQUIREMENT.match(requirement)
    if match is None or "extra ==" in requirement:
        return None
    name, oldest = match[1], match[2]
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is missing"
    if _numbers(installed) < _numbers(oldest):
        return f"{name} {installed} is older than {oldest}"
    return None


def _numbers(text: str) -> tuple[int, ...]:
    release = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, release[0].split("."))) if release else ()


def check_env_file(path: Path) -> Finding:
    """Check who can read the file of secrets."""
    if not path.is_file():
        return ok("env-file", f"no {path} here: the environment alone counts")
    if readable_by_others(path):
        mode = stat.S_IMODE(path.stat().st_mode)
        return warn(
            "env-file",
            f"other users can read {path} (mode {mode:04o})",
            f"chmod 600 {path}",
        )
    return ok("env-file", f"only its owner can read {path}")


def check_data_dir(path: Path) -> Iterator[Finding]:
    """Check the directory of data: rights, writing, space."""
    if not path.exists():
        parent = _existing_parent(path)
        if not os.access(parent, os.W_OK):
            yield fail(
                "data-dir",
                f"{path} is not there, and {parent} cannot be written",
                "Set DATA_DIR to a directory that this user can write to",
            )
            return
        yield ok("data-dir", f"{path} is made at the first start")
        yield _space(parent)
        return
    yield _rights(path)
    yield _space(path)


def _rights(path: Path) -> Finding:
    probe = path / f".doctor-{os.getpid()}"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return fail(
            "data-dir",
            f"{path} cannot be written: {reason(error)}",
            "Make it writable for this user, or set DATA_DIR to another "
            "directory",
        )
    if readable_by_others(path):
        return warn(
            "data-dir",
            f"other users can look into {path}",
            f"chmod 700 {path}",
        )
    return ok("data-dir", f"{path} can be written")


def _space(path: Path) -> Finding:
    free = shutil.disk_usage(path).free
    text = f"{free / _GIB:.1f} GiB free for {path}"
    remedy = "Free some space: jobs and answers are kept"
    if free < _NO_SPACE:
        return fail("disk", text, remedy)
    return (
        warn("disk", text, remedy)
        if free < _LITTLE_SPACE
        else ok("disk", text)
    )


def _existing_parent(path: Path) -> Path:
    return next(p for p in path.absolute().parents if p.exists())


def check_own_port(host: str, port: int, *, ours: bool) -> Finding:
    """Check that the service can listen, or does."""
    where = f"{host}, port {port}"
    if ours:
        return ok("port", f"a Metasync answers at {where}")
    if port == 0:
        return ok("port", "the service takes any free one")
    try:
        check_port(host, port)
    except CommandError as error:
        message, _, remedy = str(error).rpartition(". ")
        return fail("port", message, remedy)
    return ok("port", f"{where} is free; no service runs there")
