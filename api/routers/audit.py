"""`/audit`: who has changed what, and what was refused."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from api.core.problems import problems
from api.dependencies.callers import verify_admin_api_key
from api.dependencies.services import Audit
from api.models.audit_models import AuditEntry, AuditOutcome
from api.routers.pages import PageQuery, answer
from api.routers.resource_route import ResourceRoute
from api.services.access.audit.audit_service import AuditFilter
from api.services.shared.date_range import read_range

router = APIRouter(
    prefix="/audit",
    tags=["audit"],
    route_class=ResourceRoute,
    dependencies=[Depends(verify_admin_api_key)],
)
_BAD_DATE = {
    400: [
        (
            "from must be an ISO 8601 date or time, such as 2026-01-31 or "
            "2026-01-31T12:00:00Z"
        )
    ]
}
_Text = Annotated[str | None, Query(min_length=1, max_length=300)]


def audit_filter(
    *,
    start: Annotated[str | None, Query(alias="from")] = None,
    end: Annotated[str | None, Query(alias="to")] = None,
    who: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=300,
            description="An actor: `admin`, a client's id, or `user:` and a "
            "subject.",
        ),
    ] = None,
    action: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=300,
            description="Such as `PATCH /clients/{client_id}`.",
        ),
    ] = None,
    target: _Text = None,
    outcome: AuditOutcome | None = None,
) -> AuditFilter:
    """Read the query string.

    Raises:
        RuleError: `from` or `to` is no time.
    """
    return AuditFilter(read_range(start, end), who, action, target, outcome)


AuditQuery = Annotated[AuditFilter, Depends(audit_filter)]


@router.get("", responses=problems(_BAD_DATE))
async def list_audit(
    audit: Audit, wanted: AuditQuery, page: PageQuery, response: Response
) -> Sequence[AuditEntry]:
    """List what was changed and refused, the newest first.

    An entry is there within a second or two.
    """
    return answer(await audit.page(wanted, page), response)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses=problems(_BAD_DATE),
)
async def export_audit(audit: Audit, wanted: AuditQuery) -> StreamingResponse:
    """Return all entries as JSON Lines, the newest first."""
    return StreamingResponse(
        audit.lines(wanted), media_type="application/x-ndjson"
    )
