"""What the service says of itself."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict

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
    """`GET /health/live`: the process lives."""

    status: Literal["alive"]


class DatabaseCheck(ApiModel):
    """Whether the database answers."""

    status: Literal["healthy", "unhealthy"]


class ReadinessChecks(ApiModel):
    """What work depends on."""

    database: DatabaseCheck


class Readiness(ApiModel):
    """`GET /health/ready`: whether work can be taken."""

    status: Literal["ready", "not_ready"]
    checks: ReadinessChecks
