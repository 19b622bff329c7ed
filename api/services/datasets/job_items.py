"""Items from jobs that are finished: their inputs, and their answers."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from api.models.dataset_models import (
    DatasetItemInput,
    ExpectedFrom,
    JobSelection,
)
from api.models.job_status import JobStatus
from api.services.jobs.job_filter import JobFilter
from api.services.shared.date_range import read_range
from api.services.shared.paging import PageRequest, fetch_page
from utilities import payload
from utilities.cosmos_connector import Documents, Filter
from utilities.json_path import NoValueError, value_at

_BLOCK = 500
_FINISHED = (JobStatus.PROCESSED, JobStatus.CONSUMED)
_FIELDS = ("requestData", "responseData")


class JobItems:
    """Makes items of a client's jobs."""

    def __init__(self, jobs: Documents) -> None:
        self._jobs = jobs

    async def of(
        self, selection: JobSelection, client_id: str
    ) -> AsyncIterator[DatasetItemInput]:
        """Give an item for each job, in order of arrival.

        Raises:
            RuleError: `from` or `to` is no time.
        """
        where = {"clientId": client_id, **_query_of(selection)}
        cursor: str | None = None
        while True:
            page = await fetch_page(
                self._jobs,
                where,
                PageRequest(_BLOCK, cursor),
                dict,
                order="sequence",
                fields=_FIELDS,
            )
            for document in page.items:
                if (item := _item_of(document, selection)) is not None:
                    yield item
            cursor = page.next_cursor
            if cursor is None:
                return


def _query_of(selection: JobSelection) -> Filter:
    where = JobFilter(
        status=selection.status,
        operation=selection.operation,
        model=selection.model,
        error_type=selection.error_type,
        batch_key=selection.batch_key,
        reference=selection.client_reference or {},
        times=read_range(selection.start, selection.end),
    ).to_query()
    if selection.status is None:
        where["status"] = {"$in": list(_FINISHED)}
    return where


def _item_of(
    document: Mapping[str, Any], selection: JobSelection
) -> DatasetItemInput | None:
    request_data = payload.load(document["requestData"])
    expected = None
    if selection.expected is ExpectedFrom.RESPONSE_DATA:
        expected = _expected(document, selection.expected_path)
        if expected is None:
            return None
    return DatasetItemInput(
        id=str(document["_id"]), request_data=request_data, expected=expected
    )


def _expected(document: Mapping[str, Any], path: str | None) -> Any:  # noqa: ANN401 - JSON
    text = document.get("responseData")
    answer = payload.load(text) if isinstance(text, str) else None
    if path is None:
        return answer
    try:
        return value_at(answer, path)
    except NoValueError:
        return None
