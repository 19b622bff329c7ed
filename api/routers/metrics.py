"""`/metrics`: what Prometheus scrapes."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from api.core.errors import NotFoundError
from api.dependencies.scrape_auth import MayScrape
from api.dependencies.services import Metrics

router = APIRouter(tags=["health"], dependencies=[MayScrape])

_PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The text format of Prometheus, version 0.0.4.",
        "content": {
            "text/plain": {
                "schema": {"type": "string"},
                "example": "# HELP metasync_jobs Jobs in the database, by "
                "status and model\n# TYPE metasync_jobs gauge\n"
                'metasync_jobs{model="gpt-4o-mini",status="PENDING"} 17.0\n',
            }
        },
    }
}


@router.get("/metrics", response_class=PlainTextResponse, responses=_PAGE)
async def metrics(metrics: Metrics) -> Response:
    """Return the metrics of this process and of the queue."""
    if metrics.is_one_of_many:
        raise NotFoundError(
            "Several processes answer on this port, and each has its own "
            "metrics: set METRICS_PORT, and scrape that port and the next "
            "ones, one for each process"
        )
    return Response(await metrics.page(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
