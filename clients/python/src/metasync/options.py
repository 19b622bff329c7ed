"""The options of `map`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict

from metasync.errors import ConfigurationError

OnError = Literal["keep", "raise"]

# As many jobs as the server waits for with one request.
_MOST_IN_FLIGHT = 5_000


class MapArguments(TypedDict, total=False):
    """What `map` takes beside prompt, rows, model and schema.

    See `MapOptions` for what each means.
    """

    system: str | None
    columns: Sequence[str] | None
    temperature: float
    concurrency: int | None
    in_flight: int
    ordered: bool
    on_error: OnError
    give_up_after: int
    retry_failed: bool
    sample: int
    progress: bool | None
    operation: str
    job: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MapOptions:
    """How rows are asked and worked through."""

    # The system's text, beside a prompt that is then the user's.
    system: str | None = None
    # The columns that the model is shown; None: all of them.
    columns: Sequence[str] | None = None
    temperature: float = 0.0
    # Has a worker run with so many calls at once. None: the client's
    # workers are as they are; an embedded instance has one with 50.
    concurrency: int | None = None
    # The most rows that are with the service, and in memory.
    in_flight: int = 1000
    # Gives results in the order of the rows.
    ordered: bool = False
    # "raise" ends everything with the first row that fails.
    on_error: OnError = "keep"
    # Ends everything if the first rows, so many, fail for one reason, as
    # with a wrong key; 0: never.
    give_up_after: int = 20
    # Asks those once more that failed in an earlier run.
    retry_failed: bool = True
    # Another number asks the same rows anew.
    sample: int = 0
    # Shows a progress bar; None: if somebody looks.
    progress: bool | None = None
    operation: str = "map"
    # Further fields of the jobs, in snake_case: `priority`, `sampling`, ...;
    # what is inside of them is as on the wire.
    job: Mapping[str, Any] = field(default_factory=dict)


def read_options(given: Mapping[str, Any]) -> MapOptions:
    """Check the options of a call.

    Raises:
        ConfigurationError: one is unknown, or out of its range.
    """
    known = [each.name for each in fields(MapOptions)]
    for name in given:
        if name not in known:
            raise ConfigurationError(
                f"map has no option {name!r}; it has {', '.join(known)}. "
                "Further fields of jobs go into job={...}"
            )
    options = MapOptions(**given)
    if not 1 <= options.in_flight <= _MOST_IN_FLIGHT:
        raise ConfigurationError(
            f"in_flight must be from 1 to {_MOST_IN_FLIGHT}"
        )
    if options.on_error not in {"keep", "raise"}:
        raise ConfigurationError('on_error must be "keep" or "raise"')
    return options
