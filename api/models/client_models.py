"""Clients: who may submit work."""

from typing import Annotated, ClassVar

from pydantic import Field

from api.models.base import ApiModel, Name, StoredModel


class ClientCreate(ApiModel):
    """`POST /clients`."""

    name: Name


class ClientUpdate(ApiModel):
    """`PATCH /clients/{clientId}`; what is left out stays."""

    name: Name | None = None
    enabled: bool | None = None


class Client(StoredModel):
    """A client, as it is listed: without its key."""

    id_field: ClassVar[str] = "clientId"

    client_id: str
    name: str
    enabled: bool


class ClientWithKey(Client):
    """A client just made; the only time its key is shown."""

    api_key: Annotated[str, Field(alias="api_key")]


class RotatedKey(ApiModel):
    """A client's new key; the old one is refused from now on."""

    client_id: str
    api_key: Annotated[str, Field(alias="api_key")]
