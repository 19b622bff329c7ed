"""Brings a file of credentials to where the service reads its keys."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from pydantic import SecretStr
from rich.console import Console

from cli.errors import CommandError, reason
from cli.rest_client import Json, RestClient
from cli.secrets_file import make_private
from cli.service_access import admin_of
from cli.terminal import say
from llm_sdks.credentials.exchanged import read_credential
from llm_sdks.errors import ConfigurationError

# One of the beginnings that keys of models may have.
_PREFIX = "MODEL_CREDENTIAL_"
_OTHER = re.compile(r"[^A-Z0-9]+")
_MOST = 50
_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Entry:
    variable: str
    text: str


def import_credentials(
    path: Path,
    console: Console,
    *,
    model: str | None,
    env_file: Path,
    server: str | None,
) -> None:
    """Write the variables, and name them in the model's `keys`.

    Raises:
        CommandError: the file cannot be read; nothing was changed.
    """
    entries = list(_entries(path))
    new = _new(entries, env_file)
    if model is None:
        _append(env_file, new)
    else:
        with admin_of(server) as admin:
            found = _model(admin, model)
            _append(env_file, new)
            names = [each.variable for each in entries]
            admin.patch(f"/models/{found['model_id']}", {"keys": names})
    for entry in entries:
        state = "written" if entry in new else "was there already"
        say(console, f"{entry.variable}: {state}")
    if model is not None:
        say(console, f"{model} takes them in turn.")
    if new:
        say(console, "The service reads them when it starts: restart it.")


def _entries(path: Path) -> Iterator[_Entry]:
    """Read and check the credentials of a file.

    Raises:
        CommandError: names the first that cannot be used.
    """
    items = _items(_text(path))
    if not 1 <= len(items) <= _MOST:
        raise CommandError(
            f"{path} has {len(items)} credentials; 1 to {_MOST} are taken"
        )
    seen: set[str] = set()
    for number, item in enumerate(items, start=1):
        text = _plain_json(item)
        try:
            read_credential(SecretStr(text))
        except ConfigurationError as error:
            raise CommandError(
                f"{path}, credential {number}: {error}"
            ) from None
        variable = _variable(item, number)
        if variable in seen:
            raise CommandError(
                f"{path}, credential {number}: another one has the name "
                f"{variable} already; give them different names"
            )
        seen.add(variable)
        yield _Entry(variable, text)


def _plain_json(item: Json) -> str:
    """Write JSON without what a file of variables takes for its own."""
    text = json.dumps(item, ensure_ascii=True, separators=(",", ":"))
    return text.replace("$", r"\u0024").replace("'", r"\u0027")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CommandError(f"{path} is too large for such a file")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read {path}: {reason(error)}") from None


def _items(text: str) -> list[Json]:
    try:
        found = json.loads(text)
    except ValueError:
        try:
            found = [json.loads(line) for line in text.splitlines() if line]
        except ValueError:
            raise CommandError(
                "The file is neither JSON nor a JSON object a line"
            ) from None
    items = found if isinstance(found, list) else [found]
    if not all(isinstance(item, dict) for item in items):
        raise CommandError("The file has something that is no JSON object")
    return items


def _variable(item: Json, number: int) -> str:
    name = item.get("name") or item.get("client_email") or ""
    name = str(name or item.get("clientId") or number)
    return _PREFIX + (_OTHER.sub("_", name.upper()).strip("_") or str(number))


def _new(entries: list[_Entry], env_file: Path) -> list[_Entry]:
    """Give those that the file has not.

    Raises:
        CommandError: it has another credential under one of the names.
    """
    there: dict[str, str | None] = {}
    if env_file.exists():
        try:
            there = dotenv_values(env_file, encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(
                f"Cannot read {env_file}: {reason(error)}"
            ) from None
    for entry in entries:
        if there.get(entry.variable, entry.text) != entry.text:
            raise CommandError(
                f"{env_file} has another {entry.variable}: remove its line "
                "there, or give the credential another name"
            )
    return [each for each in entries if each.variable not in there]


def _append(env_file: Path, entries: list[_Entry]) -> None:
    if not entries:
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    lines = [f"{each.variable}={_quoted(each.text)}\n" for each in entries]
    try:
        with os.fdopen(os.open(env_file, flags, 0o600), "a") as file:
            if file.tell() and not env_file.read_bytes().endswith(b"\n"):
                file.write("\n")
            file.writelines(lines)
    except OSError as error:
        raise CommandError(
            f"Cannot write {env_file}: {reason(error)}"
        ) from None
    make_private(env_file)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\") + "'"


def _model(admin: RestClient, name: str) -> Json:
    for model in admin.pages("/models"):
        if model["name"] == name:
            return model
    raise CommandError(
        f"There is no model {name!r}; `metasync model list` shows them"
    )
