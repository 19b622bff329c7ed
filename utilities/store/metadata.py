"""`_metadata`: who made, changed and deleted a document, and when."""

import secrets
from contextvars import ContextVar
from typing import Any

# Shows a write that is repeated, because its answer was lost, what its
# first try has already done.
WRITE_ID = "_metadata.writeId"

# Who is acting, for `_metadata`: a client's id, `admin` or `worker`.
current_actor: ContextVar[str | None] = ContextVar(
    "current_actor", default=None
)


def created(now: int) -> dict[str, Any]:
    """Give the `_metadata` of a new document; `now` in ms."""
    actor = current_actor.get()
    return {
        "isDeleted": False,
        "createdAt": now,
        "updatedAt": now,
        "deletedAt": None,
        "archivedAt": None,
        "createdBy": actor,
        "updatedBy": actor,
        "deletedBy": None,
        "writeId": new_write_id(),
    }


def touched(now: int) -> dict[str, Any]:
    """Give the fields that every change sets."""
    return {
        "_metadata.updatedAt": now,
        "_metadata.updatedBy": current_actor.get(),
        WRITE_ID: new_write_id(),
    }


def deleted(now: int) -> dict[str, Any]:
    """Give the fields that a deletion sets."""
    return {
        "_metadata.isDeleted": True,
        "_metadata.deletedAt": now,
        "_metadata.deletedBy": current_actor.get(),
    }


def new_write_id() -> str:
    """Make an id for one write, the same in each of its tries."""
    return secrets.token_hex(8)
