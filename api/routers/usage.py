"""`/usage`: what calls have used and cost."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.core.problems import problems
from api.dependencies.callers import AnyCaller
from api.dependencies.services import UsageReports
from api.models.usage_models import UsageReport
from api.routers.resource_route import ResourceRoute
from api.services.limits.usage_service import GroupBy
from api.services.shared.date_range import TimeRange, read_range

router = APIRouter(prefix="/usage", tags=["usage"], route_class=ResourceRoute)
_ANY = "(day|client|model|operation|credential|route)"
_BAD_DATE = {
    400: [
        (
            "from must be an ISO 8601 date or time, such as 2026-01-31 or "
            "2026-01-31T12:00:00Z"
        )
    ]
}

_Groups = Annotated[
    str | None,
    Query(
        alias="groupBy",
        pattern=f"^{_ANY}(,{_ANY}){{0,5}}$",
        description="Names of `day`, `client`, `model`, `operation`, `route` "
        "and, for the administrator, `credential`, with commas in between.",
        examples=["day,model"],
    ),
]


def _days(
    start: Annotated[
        str | None, Query(alias="from", description="The first day, in UTC.")
    ] = None,
    end: Annotated[
        str | None, Query(alias="to", description="The last day, in UTC.")
    ] = None,
) -> TimeRange:
    return read_range(start, end)


@router.get("", responses=problems(_BAD_DATE))
async def get_usage(
    usage: UsageReports,
    caller: AnyCaller,
    days: Annotated[TimeRange, Depends(_days)],
    group_by: _Groups = None,
) -> UsageReport:
    """Sum up calls by day, client, model, operation, route or credential.

    A client sees its own. Days are whole days in UTC: that on which a call
    was recorded. Calls stay in the sums when their jobs are deleted.
    """
    names = dict.fromkeys(group_by.split(",") if group_by else ())
    return await usage.report(caller, days, [GroupBy(name) for name in names])
