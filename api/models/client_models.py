"""Clients: who may submit work."""

from typing import Annotated, ClassVar

from pydantic import Field

from api.models.base import ApiModel, Name, StoredModel, example
from api.models.keeping_models import RetentionDays


class ClientCreate(ApiModel):
    """`POST /clients`."""

    model_config = example(name="Acme back office")

    name: Name


class ClientUpdate(ApiModel):
    """`PATCH /clients/{clientId}`; other fields are kept."""

    model_config = example(enabled=False)

    name: Name | None = None
    enabled: bool | None = None
    retention_days: RetentionDays | None = None


class Client(StoredModel):
    """A client, without its key."""

    id_field: ClassVar[str] = "clientId"
    # Its names have dots, which not every server takes in a field's name.
    payload_fields: ClassVar[frozenset[str]] = frozenset({"retentionDays"})

    client_id: Annotated[str, Field(description="A UUID.")]
    name: str
    enabled: Annotated[
        bool, Field(description="A disabled client is refused.")
    ]
    retention_days: RetentionDays = Field(default_factory=dict)


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
