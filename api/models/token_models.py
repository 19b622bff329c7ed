"""Access tokens, as the API takes and answers them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from api.models.base import ApiModel, Name, StoredModel, Text, example

_Names = Annotated[
    list[Annotated[Text, Field(min_length=1, max_length=64)]],
    Field(max_length=1000),
]


class TokenKind(StrEnum):
    """Whom a token acts as."""

    PERSONAL = "personal"
    SERVICE = "service"


class TokenCreate(ApiModel):
    """A token that is wanted; it can do at most what its maker can."""

    model_config = example(
        name="nightly import",
        kind="service",
        roles=["operator"],
        clients=["3f8e6a9c-7d0b-4a51-9a6e-0f1f5f0f8a11"],
        expiresInDays=90,
    )

    name: Name
    kind: Annotated[
        TokenKind,
        Field(
            description="`personal` acts as its maker, `service` under its "
            "own name."
        ),
    ] = TokenKind.PERSONAL
    roles: Annotated[
        _Names | None, Field(description="Null: those of its maker.")
    ] = None
    clients: Annotated[
        _Names | None,
        Field(description="Null: those of its maker; `*` is all."),
    ] = None
    expires_in_days: Annotated[float, Field(gt=0, le=366)] = 90


class Token(StoredModel):
    """A token, without its secret."""

    id_field: ClassVar[str] = "tokenId"

    token_id: str
    name: Name
    kind: TokenKind
    prefix: Annotated[str, Field(description="The beginning of the secret.")]
    subject: Annotated[str, Field(description="Whom it acts as.")]
    roles: list[str]
    clients: list[str]
    all_clients: bool
    expires_at: datetime
    last_used_at: Annotated[
        datetime | None, Field(description="To the minute.")
    ] = None


class TokenWithSecret(Token):
    """A token with its secret, shown only this once."""

    token: Annotated[
        str, Field(description="`Authorization: Bearer` and this.")
    ]
