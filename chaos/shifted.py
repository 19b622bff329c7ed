"""A `metasync` on a machine whose clock is wrong.

`python -m chaos.shifted SECONDS COMMAND...`
"""

import sys
import time


def main() -> None:
    """Set this process's clock, then be `metasync COMMAND...`."""
    seconds = float(sys.argv[1])
    sys.argv = ["metasync", *sys.argv[2:]]
    _shift(seconds)
    # Not before the clock is wrong.
    from cli.app import main as metasync  # noqa: PLC0415

    metasync()


def _shift(seconds: float) -> None:
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + round(seconds * 1e9)


if __name__ == "__main__":
    main()
