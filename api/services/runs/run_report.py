"""Reports of runs as routers see them; the optimizer writes them."""

from dataclasses import dataclass
from typing import Protocol

from api.services.shared.caller import Caller


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A page of HTML, and the Content-Security-Policy that it needs."""

    html: str
    policy: str


class RunReports(Protocol):
    """Writes the report of a run."""

    async def page(self, run_id: str, caller: Caller) -> ReportPage:
        """Write the report of a run, as it is now.

        Raises:
            NotFoundError: there is no such run, or it is another client's.
        """
