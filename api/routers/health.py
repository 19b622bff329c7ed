"""`/health`: for load balancers and people."""

from datetime import UTC, datetime

from fastapi import APIRouter, Response

from api.dependencies.services import Health
from api.models import health_models as answers
from config import VERSION

SERVICE = "metasync-api"

router = APIRouter(prefix="/health", tags=["health"])
_NOT_READY = {
    "model": answers.Readiness,
    "description": "The database cannot be reached.",
}


@router.get("")
async def health() -> answers.Health:
    """Say that the service answers."""
    return answers.Health(
        status="healthy",
        service=SERVICE,
        timestamp=datetime.now(UTC),
        version=VERSION,
    )


@router.get("/live")
async def liveness() -> answers.Liveness:
    """Say that the process lives."""
    return answers.Liveness(status="alive")


@router.get("/ready", responses={503: _NOT_READY})
async def readiness(health: Health, response: Response) -> answers.Readiness:
    """Say whether work can be taken: 503 while the database is away."""
    up = await health.database_is_up()
    response.status_code = 200 if up else 503
    check = answers.DatabaseCheck(status="healthy" if up else "unhealthy")
    return answers.Readiness(
        status="ready" if up else "not_ready",
        checks=answers.ReadinessChecks(database=check),
    )
