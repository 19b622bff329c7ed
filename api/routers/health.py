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
    "description": "The database accepts no writes, or a part of the process "
    "has failed: see `checks`.",
}


@router.get("")
async def health() -> answers.Health:
    """Report that the service answers."""
    return answers.Health(
        status="healthy",
        service=SERVICE,
        timestamp=datetime.now(UTC),
        version=VERSION,
    )


@router.get("/live")
async def liveness() -> answers.Liveness:
    """Report that the process is alive."""
    return answers.Liveness(
        status="alive", service=SERVICE, timestamp=datetime.now(UTC)
    )


@router.get(
    "/ready",
    responses={503: _NOT_READY},
    response_model_exclude_none=True,
)
async def readiness(health: Health, response: Response) -> answers.Readiness:
    """Report whether the process can take work: 200, otherwise 503.

    Ready means that a write to the database works, that `DATA_DIR` can be
    written if workers run, and that no part of the process has failed.
    """
    report = await health.report()
    response.status_code = 200 if report.ready else 503
    return answers.Readiness(
        status="ready" if report.ready else "not_ready",
        service=SERVICE,
        timestamp=datetime.now(UTC),
        checks=report.checks,
    )
