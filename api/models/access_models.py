"""What the API says of whoever is calling."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel, example


class Me(ApiModel):
    """Who is calling, and what that is known by."""

    model_config = example(
        subject="alice",
        name="Alice",
        roles=["operator"],
        clients=None,
        by="session",
        csrfToken="5e88...",
        expiresAt="2026-11-27T22:00:00Z",
    )

    subject: str
    name: str
    roles: list[str]
    clients: Annotated[
        list[str] | None, Field(description="Null: all clients.")
    ] = None
    by: Annotated[
        str,
        Field(description="adminKey, clientKey, bearer, token or session."),
    ]
    csrf_token: Annotated[
        str | None,
        Field(description="Of a session: the header X-CSRF-Token of changes."),
    ] = None
    expires_at: Annotated[
        datetime | None, Field(description="When the session ends.")
    ] = None


class SignedOut(ApiModel):
    """Where to go after signing out."""

    model_config = example(redirect="https://id.example.com/logout?...")

    redirect: Annotated[
        str,
        Field(description="Ends the session at the provider, and comes back."),
    ]
