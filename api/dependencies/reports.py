"""What writes reports of runs, as a FastAPI dependency.

It is a part of the optimizer, which this package does not know: `main_app`
puts it in place.
"""

from typing import Annotated, cast

from fastapi import Depends, Request

from api.services.runs.run_report import RunReports


def get_run_reports(request: Request) -> RunReports:
    """Return what `main_app` put in place."""
    return cast("RunReports", request.app.state.run_reports)


Reports = Annotated[RunReports, Depends(get_run_reports)]
