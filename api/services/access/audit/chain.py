"""Chains entries of the audit, so that a change of any of them shows.

Each process has a chain of its own. The hash of an entry is over its text,
its place and the hash before it, and is keyed with a secret of the
service: whoever can only write to the database cannot make a right one.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic_core import to_json

from api.services.access.audit.events import Event
from utilities.cosmos_connector import Document, ObjectId

START: Final = "0" * 64
_LABEL = b"metasync audit chain"


def chain_key(pepper: str) -> bytes:
    """Derive the key that chains are made with."""
    return hmac.digest(pepper.encode(), _LABEL, "sha256")


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain; number 0 is none yet."""

    chain: str
    number: int = 0
    hash: str = START


def hash_of(
    key: bytes, previous: str, number: int, chain: str, body: str
) -> str:
    """Give the hash of an entry's text at its place."""
    text = to_json([previous, chain, number, body])
    return hmac.digest(key, text, "sha256").hex()


def seal(key: bytes, head: Head) -> str:
    """Give what shows that a head was written by the service."""
    return hash_of(key, head.hash, head.number, head.chain, "head")


def chained(
    key: bytes, head: Head, events: Sequence[Event]
) -> tuple[list[Document], Head]:
    """Make the documents of events, and the head that results.

    `body` is the whole entry as text; the other fields are for queries.
    """
    documents = []
    for event in events:
        number, body = head.number + 1, body_of(event)
        made = hash_of(key, head.hash, number, head.chain, body)
        documents.append(
            {
                "_id": ObjectId(event.id),
                **columns(event),
                "chain": head.chain,
                "number": number,
                "previous": head.hash,
                "hash": made,
                "body": body,
            }
        )
        head = Head(head.chain, number, made)
    return documents, head


def body_of(event: Event) -> str:
    """Give an event as the text that is stored and hashed."""
    return to_json(event, exclude={"is_frequent"}).decode()


def columns(event: Event) -> Document:
    """Give the fields that are searched."""
    return {
        "at": event.at,
        "actor": event.actor,
        "action": event.action,
        "target": event.target,
        "outcome": event.outcome,
    }
