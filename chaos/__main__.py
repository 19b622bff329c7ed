"""`make chaos`: prints a table; ends with status 1 if an invariant broke.

`CHAOS_SEED=7 make chaos` strikes in another order; `CHAOS_JOBS=1000` makes
fewer jobs, and `CHAOS_DIR=...` keeps the data and the logs.
"""

import os
import sys
import tempfile
from pathlib import Path

from chaos.experiment import run
from chaos.plan import Plan


def main() -> int:
    """Run the plan; return the exit status."""
    plan = Plan(
        jobs=int(os.environ.get("CHAOS_JOBS", "10000")),
        seed=int(os.environ.get("CHAOS_SEED", "1")),
    )
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(os.environ.get("CHAOS_DIR") or scratch).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        verdict = run(plan, directory)
    print(verdict.table())
    return 1 if verdict.broken else 0


if __name__ == "__main__":
    sys.exit(main())
