"""A `.env` with fresh random secrets, for whoever has none yet."""

import os
import secrets
from pathlib import Path

from dotenv import dotenv_values

from cli.errors import CommandError, reason

_NEEDED = ("ADMIN_API_KEY", "API_KEY_PEPPER", "DOCS_SECRET")

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


def missing_secrets(path: Path) -> list[str]:
    """Name what the service needs and a file does not set."""
    values = dotenv_values(path)
    return [name for name in _NEEDED if not values.get(name)]
