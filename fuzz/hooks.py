"""What Schemathesis asks us while it runs; see `fuzz.__main__`."""

import os
from typing import Any

import schemathesis

_OWN_CLIENT = os.environ["FUZZ_CLIENT_ID"]


@schemathesis.hook
def filter_case(
    _context: schemathesis.HookContext, case: schemathesis.Case[Any]
) -> bool:
    """Leave the client alone that the run itself is: all else would be 401."""
    return _OWN_CLIENT not in str(case.path_parameters)


@schemathesis.hook
def before_call(
    _context: schemathesis.HookContext,
    case: schemathesis.Case[Any],
    _kwargs: dict[str, object],
) -> None:
    """Spare it also where an id came in after the filter, from a link."""
    if _OWN_CLIENT in str(case.path_parameters):
        case.path_parameters = dict.fromkeys(case.path_parameters, "spared")
