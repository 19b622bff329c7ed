"""Runs the checks of one module, and prints how each has ended, as JSON.

The Metasync, a token and the simulator are in the environment.
"""

import importlib
import inspect
import json
import os
import sys
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Judge:
    """What a check is made with: two models of the vendors' kinds."""

    url: str
    token: str
    simulator: str
    gpt: str = "my-gpt"
    claude: str = "my-claude"

    def script(self, *rules: dict[str, Any]) -> None:
        """Say what the simulated providers answer."""
        request = urllib.request.Request(
            f"{self.simulator}/script",
            json.dumps(rules).encode(),
            method="PUT",
        )
        urllib.request.urlopen(request, timeout=10).close()


def main() -> None:
    """Run the checks of the module that is named."""
    judge = Judge(
        os.environ["METASYNC_URL"],
        os.environ["METASYNC_TOKEN"],
        os.environ["SIMULATOR_URL"],
    )
    module = importlib.import_module(sys.argv[1])
    results = {
        name.removeprefix("check_"): _outcome(check, judge)
        for name, check in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("check_")
    }
    print(f"\n{json.dumps(results)}")  # noqa: T201 - what is read


def _outcome(check: Callable[[Judge], None], judge: Judge) -> str:
    """Return why a check has failed; empty if it has not."""
    judge.script()
    try:
        check(judge)
    except Exception:  # noqa: BLE001 - reported
        return traceback.format_exc(limit=-6)
    return ""


if __name__ == "__main__":
    main()
