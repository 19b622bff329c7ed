"""What the service reports about its own health."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field

from api.models.base import ApiModel


class Health(ApiModel):
    """`GET /health`: the service answers."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "healthy",
                    "service": "metasync-api",
                    "timestamp": "2026-01-31T12:00:00+00:00",
                    "version": "0.1.0",
                }
            ]
        }
    )

    status: Literal["healthy"]
    service: str
    timestamp: datetime
    version: str


class Liveness(ApiModel):
    """`GET /health/live`: the process is alive."""

    status: Literal["alive"]
    service: str
    timestamp: datetime


class CheckStatus(StrEnum):
    """The state of a part; with a degraded part the process can still work."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Check(ApiModel):
    """The state of one part of the process, and since when."""

    status: CheckStatus
    since: datetime | None = None
    error: Annotated[
        str | None, Field(description="What is wrong; null if nothing is.")
    ] = None


class DatabaseCheck(Check):
    """Whether the database answers and accepts writes."""

    database: Literal["connected", "disconnected"]


class ReadinessChecks(ApiModel):
    """The database, and each part of the process by its name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Check]

    database: DatabaseCheck

    @classmethod
    def of(cls, database: DatabaseCheck, parts: Mapping[str, Check]) -> Self:
        """Put the checks together."""
        return cls.model_validate({**parts, "database": database})


class Readiness(ApiModel):
    """`GET /health/ready`: whether the process can take work."""

    status: Literal["ready", "not_ready"]
    service: str
    timestamp: datetime
    checks: ReadinessChecks
