"""Entries of the audit, as the API answers them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from api.models.base import ApiModel, example


class AuditOutcome(StrEnum):
    """How a request ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class AuditChange(ApiModel):
    """One thing that was made, changed or deleted.

    Secrets are `hidden`; of texts of clients, only length and digest are
    kept.
    """

    action: str
    kind: str
    id: str
    before: Annotated[dict[str, Any], Field(default_factory=dict)]
    after: Annotated[dict[str, Any], Field(default_factory=dict)]


class AuditEntry(ApiModel):
    """Who has done what, and from where."""

    model_config = example(
        entryId="665f1c2ab7e4d90012345678",
        at="2026-11-27T10:00:00Z",
        until="2026-11-27T10:00:00Z",
        actor="user:alice",
        name="alice",
        by="session",
        address="192.0.2.7",
        action="PATCH /clients/{client_id}",
        path="/clients/3f8e6a9c-7d0b-4a51-9a6e-0f1f5f0f8a11",
        target="3f8e6a9c-7d0b-4a51-9a6e-0f1f5f0f8a11",
        status=200,
        outcome="done",
        count=1,
        things=1,
        changes=[
            {
                "action": "changed",
                "kind": "Client",
                "id": "665f1c2ab7e4d90012345679",
                "before": {"enabled": True},
                "after": {"enabled": False},
            }
        ],
        chain="host-1f0c",
        number=17,
        hash="c0ffee",
    )

    entry_id: str
    at: datetime
    until: Annotated[
        datetime, Field(description="Of the last request, if `count` > 1.")
    ]
    actor: Annotated[
        str,
        Field(
            description="`admin`, a client's id, `user:` and a subject, "
            "`service`, or `unknown`."
        ),
    ]
    name: Annotated[
        str,
        Field(
            description="A name to show; of a request without a right "
            "credential, the client that it says it is."
        ),
    ]
    by: Annotated[
        str | None,
        Field(description="adminKey, clientKey, bearer, token or session."),
    ] = None
    address: str
    action: Annotated[
        str, Field(description="Method and path, as this page names it.")
    ]
    path: str
    target: Annotated[
        str | None, Field(description="The id that it is about.")
    ] = None
    status: int
    outcome: AuditOutcome
    correlation_id: str | None = None
    reason: Annotated[
        str | None, Field(description="The rule that refused it.")
    ] = None
    kind: Annotated[
        str | None, Field(description="What kind of things it changed.")
    ] = None
    things: Annotated[
        int, Field(description="How many things it made or changed.")
    ] = 0
    ids: Annotated[
        tuple[str, ...], Field(description="The first ones' ids.")
    ] = ()
    changes: tuple[AuditChange, ...] = ()
    count: Annotated[
        int,
        Field(
            description="Requests that are alike and come in masses are one "
            "entry."
        ),
    ] = 1
    chain: Annotated[
        str, Field(description="The process that has written it.")
    ]
    number: Annotated[int, Field(description="Its place in the chain.")]
    hash: str
