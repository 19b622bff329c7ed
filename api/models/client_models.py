"""Clients: who may submit work."""

from typing import Annotated, ClassVar

from pydantic import Field

from api.models.base import ApiModel, Name, StoredModel, example
from api.models.budget_models import Budget


class ClientCreate(ApiModel):
    """`POST /clients`."""

    model_config = example(name="Acme back office")

    name: Name
    budget: Budget | None = None


class ClientUpdate(ApiModel):
    """`PATCH /clients/{clientId}`; other fields are kept."""

    model_config = example(enabled=False)

    name: Name | None = None
    enabled: bool | None = None
    budget: Annotated[
        Budget | None, Field(description="Null takes it away.")
    ] = None


class Client(StoredModel):
    """A client, without its key."""

    id_field: ClassVar[str] = "clientId"

    client_id: Annotated[str, Field(description="A UUID.")]
    name: str
    enabled: Annotated[
        bool, Field(description="A disabled client is refused.")
    ]
    budget: Annotated[
        Budget | None, Field(exclude_if=lambda value: value is None)
    ] = None


ApiKey = Annotated[
    str,
    Field(
        alias="api_key",
        description="64 hex digits; store them now, they are not shown again.",
    ),
]


class ClientWithKey(Client):
    """A new client, with its key, which is not shown again."""

    api_key: ApiKey


class RotatedKey(ApiModel):
    """A client's new key; the old one is refused at once."""

    client_id: str
    api_key: ApiKey
