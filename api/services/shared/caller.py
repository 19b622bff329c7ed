"""Who is asking, and what that caller may see."""

from dataclasses import dataclass

from api.core.errors import AuthenticationError, RuleError
from api.models.job_status import Actor
from utilities.cosmos_connector import Filter

EITHER_IS_NEEDED = (
    "Client authentication (Client ID and API key) or admin API key is "
    "required"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A client, the administrator, or somebody who acts for clients.

    `is_admin` sees everything. `clients` are those whose things somebody
    sees who has signed in, if not all; `client_id` is then the one that
    new things belong to. `subject` is how that person is named.
    """

    client_id: str | None = None
    is_admin: bool = False
    clients: frozenset[str] | None = None
    subject: str | None = None

    @property
    def name(self) -> str:
        """How `_metadata` names this caller."""
        if self.subject is not None:
            return self.subject
        return "admin" if self.is_admin else str(self.client_id)

    @property
    def actor(self) -> Actor:
        """The caller's column in the table of transitions."""
        return Actor.ADMIN if self.is_admin else Actor.CLIENT

    @property
    def own(self) -> Filter:
        """Filter for what is the caller's own; everything, for an admin."""
        if self.is_admin:
            return {}
        if self.clients is not None and self.client_id is None:
            return {"clientId": {"$in": sorted(self.clients)}}
        return {"clientId": self.client_id}

    @property
    def own_or_public(self) -> Filter:
        """Filter for what the caller may read and use."""
        if self.is_admin:
            return {}
        return {"$or": [self.own, {"isPublic": True}]}

    def require_client(self) -> str:
        """Return the client that new things will belong to.

        Raises:
            AuthenticationError: an admin who names no client.
            RuleError: somebody else with several clients, or none.
        """
        if self.client_id is not None:
            return self.client_id
        if self.subject is not None:
            # No credential is missing: this is no failed login.
            raise RuleError(
                "Client ID is required: name the client with the header "
                "client_id"
            )
        raise AuthenticationError("Client ID is required")
