"""Clients: who may submit work."""

from typing import Annotated, ClassVar

from pydantic import Field

from api.models.base import ApiModel, Name, StoredModel, example


class ClientCreate(ApiModel):
    """`POST /clients`."""

    model_config = example(name="Acme back office")

    name: Name


class ClientUpdate(ApiModel):
    """`PATCH /clients/{clientId}`; what is left out stays."""

    model_config = example(enabled=False)

    name: Name | None = None
    enabled: bool | None = None


class Client(StoredModel):
    """A client, as it is listed: without its key."""

    id_field: ClassVar[str] = "clientId"

    client_id: Annotated[str, Field(description="A UUID.")]
    name: str
    enabled: Annotated[
        bool, Field(description="A disabled client is refused.")
    ]


ApiKey = Annotated[
    str,
    Field(alias="api_key", description="64 hex digits; note them now."),
]


class ClientWithKey(Client):
    """A client just made; the only time its key is shown."""

    api_key: ApiKey


class RotatedKey(ApiModel):
    """A client's new key; the old one is refused from now on."""

    client_id: str
    api_key: ApiKey
