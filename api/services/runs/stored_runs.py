"""How runs are stored, and read: broken ones as well as they can be."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from api.models.run_models import ModelRun, Run, RunStatus
from utilities import payload
from utilities.cosmos_connector import Document

_LONGEST_REASON = 300
# What stands for a field that cannot be read.
_NEUTRAL: dict[str, Any] = {
    "clientId": "",
    "status": RunStatus.FAILED,
    "initialWorkingPromptIds": [],
    "evalPromptId": "",
    "evalModel": "",
    "metaPromptId": "",
    "metaModel": "",
    "workingModels": [],
    "maxIterations": 0,
    "temperature": 0.0,
    "priority": 0,
    "requestData": {},
    "modelRuns": [],
}
_ALWAYS = ("_id", "_metadata", "clientId")


def begun(client_id: str, models: Sequence[str]) -> Document:
    """Give the fields of a run that begins, beside those of its request."""
    return {
        "modelRuns": dump_model_runs(
            [ModelRun(model=each) for each in models]
        ),
        "clientId": client_id,
        "status": RunStatus.RUNNING,
        "currentModelIndex": 0,
        "currentIteration": 0,
        "currentJobId": None,
        "failureReason": None,
        "finishReason": None,
        "attempt": 0,
        "revision": 0,
    }


def dump_model_runs(model_runs: Sequence[ModelRun]) -> str:
    """Turn the iterations into the text that is stored."""
    return payload.dump(
        [each.model_dump(by_alias=True) for each in model_runs]
    )


def read(document: Document) -> Run:
    """Turn a document into a run.

    Of one that is broken, the fields that can be read are shown: its owner
    must be able to see and to delete it.
    """
    try:
        return Run.from_document(document)
    except (ValueError, TypeError, KeyError) as error:
        return _broken(document, error)


def reason(error: Exception) -> str:
    """Say why a run cannot be read."""
    what = str(error)
    if isinstance(error, ValidationError):
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        what = f"{where}: {problem['msg']}"
    return f"The stored run cannot be read: {what}"[:_LONGEST_REASON]


def _broken(document: Document, error: Exception) -> Run:
    kept = _NEUTRAL | {
        name: document[name] for name in _ALWAYS if name in document
    }
    kept["failureReason"] = reason(error)
    for name, value in document.items():
        try:
            Run.from_document(kept | {name: value})
        except (ValueError, TypeError, KeyError):
            continue
        if value is not None:
            kept[name] = value
    return Run.from_document(kept)
