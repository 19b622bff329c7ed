from typing import Any

import pytest

from cli.run_session import limit_field_refused


def failed(status: int | None, message: str) -> dict[str, Any]:
    error = {"errorType": "X", "httpStatus": status, "message": message}
    return {"line": 1, "id": None, "error": error}


NAMED = failed(422, "body.max_completion_tokens: Extra inputs")
SILENT = failed(400, "HTTP 400")
OTHER = failed(400, "HTTP 400: we do not like this one")


@pytest.mark.parametrize(
    ("failures", "refused"),
    [
        ([], False),
        ([NAMED], True),
        ([OTHER, NAMED], True),
        ([SILENT, SILENT], True),
        # Something else is wrong with one of them.
        ([SILENT, OTHER], False),
        ([failed(500, "max_completion_tokens")], False),
        ([failed(None, "HTTP None")], False),
        ([{"line": 1, "id": None, "error": None}], False),
    ],
)
def test_a_refused_field_is_told_from_other_failures(
    failures: list[dict[str, Any]], *, refused: bool
) -> None:
    assert limit_field_refused(failures) is refused
