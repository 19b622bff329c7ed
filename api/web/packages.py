"""Packages: what a WebSocket connection carries, in both directions.

A request is `{pkg_id, req_id, data}`. Its answer is `{pkg_id, req_id,
status_code, data, meta?}` with the same two ids. Events that were subscribed
to have the `req_id` of the subscription.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Protocol

from pydantic import ConfigDict, Field
from pydantic_core import to_json

from api.dependencies.services import Services
from api.models.base import ApiModel
from api.services.live.live_event import Wanted
from api.services.shared.caller import Caller

MOST_PER_PAGE = 1_000
# Pages are counted from the start: those far behind cost too much.
MOST_SKIPPED = 10_000
_OK = 200

ReqId = (
    Annotated[str, Field(max_length=128)]
    | Annotated[int, Field(ge=-(2**53), le=2**53)]
)


class Role(StrEnum):
    """Who may send a package."""

    ANYBODY = "anybody"
    ADMIN = "admin"


class Request(ApiModel):
    """What a client sends."""

    model_config = ConfigDict(alias_generator=None, extra="forbid")

    pkg_id: Annotated[str, Field(min_length=1, max_length=64)]
    req_id: ReqId
    data: dict[str, Any] = Field(default_factory=dict)


class Data(ApiModel):
    """The `data` of a request; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class NoData(Data):
    """Nothing is needed."""


class Paged(Data):
    """Which part of a list."""

    page: Annotated[int, Field(ge=1, le=MOST_SKIPPED)] = 1
    per_page: Annotated[
        int, Field(alias="per_page", ge=1, le=MOST_PER_PAGE)
    ] = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered."""

    data: Any = None
    meta: dict[str, Any] | None = None
    status_code: int = _OK


class Subscriptions(Protocol):
    """What a connection has subscribed to."""

    async def subscribe(
        self,
        req_id: str | int,
        wanted: Wanted,
        after: str | None,
        since: int | None,
    ) -> tuple[int, bool]:
        """Send events from now on.

        Returns how many were missed, and whether those are all.
        """

    def unsubscribe(self, req_id: str | int) -> bool:
        """Send no more; tell whether there was such a subscription."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: who sends it, and what it can use."""

    caller: Caller
    services: Services
    req_id: str | int
    subscriptions: Subscriptions


# With the package's own kind of data: see `Handler.data`.
Run = Callable[[Call, Any], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Handler:
    """What answers the packages with one id."""

    pkg_id: str
    summary: str
    run: Run
    data: type[Data] = NoData
    role: Role = Role.ANYBODY

    def described(self) -> dict[str, Any]:
        """Describe it, with the JSON Schema of its data."""
        return {
            "pkg_id": self.pkg_id,
            "summary": self.summary,
            "role": self.role,
            "data": self.data.model_json_schema(by_alias=True),
        }


@dataclass
class Registry:
    """The handlers, by the ids of their packages."""

    handlers: dict[str, Handler] = field(default_factory=dict)

    def add(self, *handlers: Handler) -> None:
        """Take handlers in; each id has one."""
        for handler in handlers:
            if handler.pkg_id in self.handlers:
                raise ValueError(f"{handler.pkg_id} has a handler already")
            self.handlers[handler.pkg_id] = handler

    def described(self) -> list[dict[str, Any]]:
        """Describe all, in the order of their ids."""
        return [each.described() for _, each in sorted(self.handlers.items())]


def written(pkg_id: str, req_id: str | int | None, answer: Answer) -> str:
    """Write an answer as JSON."""
    package = {
        "pkg_id": pkg_id,
        "req_id": req_id,
        "status_code": answer.status_code,
        "data": answer.data,
    }
    if answer.meta is not None:
        package["meta"] = answer.meta
    return to_json(package, by_alias=True, inf_nan_mode="null").decode()
