"""The file of secrets: made fresh, and readable by its owner only."""

import os
import secrets
import stat
from pathlib import Path

from dotenv import dotenv_values

from cli.errors import CommandError, reason

_NEEDED = ("ADMIN_API_KEY", "API_KEY_PEPPER", "DOCS_SECRET")

_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_TEXT = """\
# Made by `metasync init`. Keep it secret, and keep it: without
# API_KEY_PEPPER, every client's key ends.
ADMIN_API_KEY={admin}
API_KEY_PEPPER={pepper}
DOCS_USER=user
DOCS_SECRET={docs}
# What Prometheus reads /metrics with.
METRICS_TOKEN={metrics}

# A model's `key` names a variable like this one:
# OPENAI_API_KEY=
"""


def ensure_secrets_file(path: Path) -> bool:
    """Write the file, readable by its owner only, if there is none.

    Returns whether it was written.

    Raises:
        CommandError: it cannot be.
    """
    text = _TEXT.format(
        admin=secrets.token_hex(32),
        pepper=secrets.token_hex(32),
        docs=secrets.token_hex(16),
        metrics=secrets.token_hex(32),
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {reason(error)}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return True


def readable_by_others(path: Path) -> bool:
    """Tell whether the file's mode lets other users at it."""
    return bool(path.stat().st_mode & _OTHERS)


def make_private(path: Path) -> bool:
    """Take other users' rights away; returns whether they had any.

    Raises:
        CommandError: the mode cannot be changed.
    """
    try:
        if not readable_by_others(path):
            return False
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_OTHERS)
    except OSError as error:
        raise CommandError(
            f"Other users can read {path}, and its mode cannot be changed: "
            f"{reason(error)}"
        ) from None
    return True


def missing_secrets(path: Path) -> list[str]:
    """Name what the service needs and a file does not set.

    Raises:
        CommandError: the file cannot be read.
    """
    try:
        values = dotenv_values(path, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read {path}: {reason(error)}") from None
    return [name for name in _NEEDED if not values.get(name)]
