"""Documents of runs on a dataset, as they begin."""

from typing import Any

from api.models.optimization_models import DatasetRunCreate
from api.services.runs import stored_runs
from utilities import payload
from utilities.cosmos_connector import Document

# Kept as JSON: the store never looks into them.
_AS_JSON = ("metric", "responseSchema")


def new_run(
    request: DatasetRunCreate, client_id: str, warnings: list[str]
) -> Document:
    """Make the document of a run that begins."""
    fields = request.model_dump(by_alias=True)
    return {
        **fields,
        **{name: _as_json(fields[name]) for name in _AS_JSON},
        **stored_runs.begun(client_id, request.working_models),
        "jobsUsed": 0,
        "tokensUsed": 0,
        "cachedAnswers": 0,
        "validationLooks": 0,
        "candidateCount": 0,
        "warnings": warnings,
    }


def _as_json(value: Any) -> str | None:  # noqa: ANN401 - JSON is any of six types
    return None if value is None else payload.dump(value)
