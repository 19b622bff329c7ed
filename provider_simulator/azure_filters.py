"""What Azure's content filters report."""

from typing import Any

from provider_simulator.values import RefusedError


def findings(*, filtered: bool) -> dict[str, Any]:
    """Return what the filters found in a text."""
    safe = {"filtered": False, "severity": "safe"}
    hate = {"filtered": True, "severity": "medium"} if filtered else safe
    return {"hate": hate, "self_harm": safe, "sexual": safe, "violence": safe}


def prompt_findings() -> list[dict[str, Any]]:
    """Return what the filters found in the prompt: nothing."""
    return [
        {
            "prompt_index": 0,
            "content_filter_results": findings(filtered=False),
        }
    ]


def filtered_prompt(error: RefusedError) -> dict[str, Any]:
    """Return the error of a prompt that was refused."""
    return {
        "message": error.message,
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": error.status,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": findings(filtered=True),
        },
    }
