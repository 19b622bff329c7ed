"""Documents of runs on a dataset, as they begin."""

from typing import Any

from api.models.optimization_models import DatasetRunCreate
from api.models.run_models import ModelRun, RunStatus
from utilities import payload
from utilities.cosmos_connector import Document

# Kept as JSON: the store never looks into them.
_AS_JSON = ("metric", "responseSchema")


def new_run(
    request: DatasetRunCreate, client_id: str, warnings: list[str]
) -> Document:
    """Make the document of a run that begins."""
    fields = request.model_dump(by_alias=True)
    model_runs = [ModelRun(model=name) for name in request.working_models]
    return {
        **fields,
        **{name: _as_json(fields[name]) for name in _AS_JSON},
        "modelRuns": payload.dump(
            [each.model_dump(by_alias=True) for each in model_runs]
        ),
        "clientId": client_id,
        "status": RunStatus.RUNNING,
        "currentModelIndex": 0,
        "currentIteration": 0,
        "currentJobId": None,
        "failureReason": None,
        "finishReason": None,
        "jobsUsed": 0,
        "tokensUsed": 0,
        "cachedAnswers": 0,
        "validationLooks": 0,
        "candidateCount": 0,
        "warnings": warnings,
        "attempt": 0,
        "revision": 0,
    }


def _as_json(value: Any) -> str | None:  # noqa: ANN401 - JSON is any of six types
    return None if value is None else payload.dump(value)
