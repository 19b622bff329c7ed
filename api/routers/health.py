"""`/health`: for load balancers and people."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response

from api.services.dependencies import Health
from config import VERSION

SERVICE = "metasync-api"

router = APIRouter(prefix="/health", tags=["health"])


@router.get("")
async def health() -> dict[str, str]:
    """Say that the service answers."""
    return {
        "status": "healthy",
        "service": SERVICE,
        "timestamp": datetime.now(UTC).isoformat(),
        "version": VERSION,
    }


@router.get("/live")
async def liveness() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "alive"}


@router.get("/ready")
async def readiness(health: Health, response: Response) -> dict[str, Any]:
    """Say whether work can be taken: 503 while the database is away."""
    up = await health.database_is_up()
    response.status_code = 200 if up else 503
    return {
        "status": "ready" if up else "not_ready",
        "checks": {"database": {"status": "healthy" if up else "unhealthy"}},
    }
