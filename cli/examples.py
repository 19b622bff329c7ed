"""The demo's input: beside the code in a checkout, inside it in a wheel."""

from pathlib import Path

from cli.errors import CommandError

_HERE = Path(__file__).resolve().parent
_PLACES = (_HERE / "example_files", _HERE.parent / "examples")


def example(name: str) -> Path:
    """Return the path of an example file.

    Raises:
        CommandError: this installation has none.
    """
    for place in _PLACES:
        if (place / name).is_file():
            return place / name
    raise CommandError(
        f"The example file {name} is not part of this installation: install "
        "the package again, or run the command from a checkout"
    )
