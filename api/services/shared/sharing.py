"""What belongs to a client or, by the administrator's will, to all."""

from typing import Any, Protocol

from api.core.errors import ForbiddenError, RuleError
from api.models.base import ApiModel
from api.services.shared.caller import Caller


class Shareable(Protocol):
    """Belongs to a client, or is public and has no owner."""

    @property
    def client_id(self) -> str | None:
        """The owner; None when public."""

    @property
    def is_public(self) -> bool:
        """Whether every client may use it."""


def check_may(action: str, item: Shareable, caller: Caller, what: str) -> None:
    """Refuse a client that would change what is public.

    Raises:
        ForbiddenError: only the administrator may.
    """
    if item.is_public and not caller.is_admin:
        raise _needs_admin(action, what)


def owner_of_new(*, public: bool, caller: Caller, what: str) -> str | None:
    """Return the owner of a new object: None if it is public.

    Raises:
        ForbiddenError: a client asked for something public.
    """
    if not public:
        return caller.require_client()
    if not caller.is_admin:
        raise _needs_admin("create", what)
    return None


def changes_of(
    item: Shareable, request: ApiModel, caller: Caller, what: str
) -> dict[str, Any]:
    """Give the fields that a change sets, with the owner that results.

    Raises:
        ForbiddenError: what only the administrator may do.
        RuleError: the result would make no sense.
    """
    changes = request.model_dump(by_alias=True, exclude_unset=True)
    check_may("change", item, caller, what)
    if not caller.is_admin:
        if changes.get("isPublic"):
            raise _needs_admin("make", what)
        if "clientId" in changes:
            raise ForbiddenError(
                f"Admin API key is required to change a {what}'s clientId"
            )
    for name, value in changes.items():
        if value is None and name != "clientId":
            raise RuleError(f"{name} must not be null")
    return _with_owner(item, changes, what)


def _with_owner(
    item: Shareable, changes: dict[str, Any], what: str
) -> dict[str, Any]:
    public = changes.get("isPublic", item.is_public)
    owner = changes.get("clientId", item.client_id)
    if public and changes.get("clientId") is not None:
        raise RuleError(f"A public {what} belongs to no client")
    if not public and owner is None:
        raise RuleError(
            f"A {what} that is not public needs a clientId: give it with "
            "the change"
        )
    return {**changes, "clientId": None if public else owner}


def _needs_admin(action: str, what: str) -> ForbiddenError:
    return ForbiddenError(
        f"Admin API key is required to {action} a public {what}"
    )
