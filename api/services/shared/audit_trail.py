"""What a request changes, noted for the audit where it is changed.

The audit's middleware starts a trail; whatever writes to the store notes
what it has written. Without a trail, in workers for example, a note costs
one look at a context variable.

No secret is noted, and no word of a client, which may have to be erased one
day: of those, the length and a digest are, which show that something has
changed.
"""

import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

MOST_CHANGES: Final = 100
MOST_IDS: Final = 100
HIDDEN: Final = "hidden"
_MOST_PARTS = 200
_DEEPEST = 4
_LONGEST_TEXT = 200
# What every change changes.
_INTERNAL = frozenset({"_id", "_metadata", "liveKey", "revision", "rank"})
_WORDS = re.compile(r"[A-Za-z][a-z0-9]*")
_SECRET_WORDS = frozenset(
    {"key", "keys", "secret", "token", "password", "digest", "salt"}
    | {"credential", "credentials", "authorization", "cookie"}
)
# Made by the operator; the words of all others are a client's.
_OF_THE_OPERATOR = frozenset({"Model", "Route", "Token"})
# Of a client: numbers, with names of ours.
_LIMITS = frozenset({"limits", "budget", "gateway", "retentionDays"})
_STATES = frozenset({"status", "clientId"})
# Another one in each process.
_KEY = secrets.token_bytes(32)

Shown = Any


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was made, changed or deleted.

    `before` and `after` have the fields that differ, as they may be shown.
    """

    action: str
    kind: str
    id: str
    before: Mapping[str, Shown] = field(default_factory=dict)
    after: Mapping[str, Shown] = field(default_factory=dict)


@dataclass(slots=True)
class Trail:
    """What one request has changed; too much is counted only."""

    changes: list[Change] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    things: int = 0
    kind: str | None = None
    is_closed: bool = False


current_trail: ContextVar[Trail | None] = ContextVar(
    "current_trail", default=None
)


def note_made(kind: str, document: Mapping[str, Any]) -> None:
    """Note a thing that was made."""
    if (trail := _open_trail(kind)) is not None:
        after = _shown_fields(kind, document, document.keys())
        _add(trail, Change("made", kind, str(document["_id"]), {}, after))


def note_changed(
    kind: str, before: Mapping[str, Any], changes: Mapping[str, Any]
) -> None:
    """Note the fields of a thing that were given other values."""
    if (trail := _open_trail(kind)) is None:
        return
    names = [name for name in changes if before.get(name) != changes[name]]
    _add(
        trail,
        Change(
            "changed",
            kind,
            str(before["_id"]),
            _shown_fields(kind, before, names),
            _shown_fields(kind, changes, names),
        ),
    )


def note_deleted(kind: str, document: Mapping[str, Any]) -> None:
    """Note a thing that was deleted."""
    if (trail := _open_trail(kind)) is not None:
        before = _shown_fields(kind, document, document.keys())
        _add(trail, Change("deleted", kind, str(document["_id"]), before))


def note_ids(kind: str, ids: Iterable[object], count: int) -> None:
    """Note many things of one kind by their ids, the first of them."""
    if (trail := _open_trail(kind)) is not None:
        trail.things += count
        room = MOST_IDS - len(trail.ids)
        trail.ids += [str(each) for each, _ in zip(ids, range(room))]  # noqa: B905 - as many as fit


def _open_trail(kind: str) -> Trail | None:
    trail = current_trail.get()
    # Tasks that a request has started may still note something.
    if trail is None or trail.is_closed:
        return None
    trail.kind = trail.kind or kind
    return trail


def _add(trail: Trail, change: Change) -> None:
    trail.things += 1
    if len(trail.changes) < MOST_CHANGES:
        trail.changes.append(change)


def _shown_fields(
    kind: str, document: Mapping[str, Any], names: Iterable[str]
) -> dict[str, Shown]:
    parts = [0]
    is_clients = kind not in _OF_THE_OPERATOR
    return {
        name: _shown_of_client(name, document.get(name), parts)
        if is_clients
        else _shown(name, document.get(name), parts, 0)
        for name in names
        if name not in _INTERNAL
    }


def _shown_of_client(name: str, value: Any, parts: list[int]) -> Shown:  # noqa: ANN401 - any value of the store
    """Show no word that a client has chosen: it may have to be erased."""
    if name in _LIMITS or _is_number(value):
        return _shown(name, value, parts, 0)
    if _is_secret(name):
        return HIDDEN
    if name in _STATES and isinstance(value, str):
        return value[:_LONGEST_TEXT]
    text = value if isinstance(value, str) else str(value)
    return _digest_of(text)


def _shown(name: str, value: Any, parts: list[int], depth: int) -> Shown:  # noqa: ANN401 - as above
    parts[0] += 1
    if _is_number(value):
        return value
    if _is_secret(name):
        return HIDDEN
    if isinstance(value, str):
        return _shown_text(value)
    return _shown_parts(name, value, parts, depth)


def _shown_parts(
    name: str,
    value: Any,  # noqa: ANN401 - as above
    parts: list[int],
    depth: int,
) -> Shown:
    if depth >= _DEEPEST or parts[0] > _MOST_PARTS:
        return {"omitted": type(value).__name__}
    if isinstance(value, Mapping):
        return {
            str(key)[:_LONGEST_TEXT]: _shown(str(key), each, parts, depth + 1)
            for key, each in list(value.items())[:_MOST_PARTS]
        }
    if isinstance(value, list | tuple):
        return [
            _shown(name, each, parts, depth + 1)
            for each in value[:_MOST_PARTS]
        ]
    return str(value)[:_LONGEST_TEXT]


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _is_secret(name: str) -> bool:
    return any(word.lower() in _SECRET_WORDS for word in _WORDS.findall(name))


def _shown_text(text: str) -> Shown:
    if text.startswith(("http://", "https://")):
        text = _without_secrets(text)
    return text if len(text) <= _LONGEST_TEXT else _digest_of(text)


def _digest_of(text: str) -> Shown:
    """Tell texts apart, and nothing else: the key is never stored."""
    raw = text.encode(errors="replace")
    digest = hmac.digest(_KEY, raw, "sha256").hex()
    return {"length": len(text), "digest": digest[:16]}


def _without_secrets(address: str) -> str:
    """Leave out an address's user and query, where keys are put."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return HIDDEN
    return f"{parts.scheme}://{host}{port}{parts.path}"
