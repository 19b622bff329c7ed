"""`metasync instance`: an instance for another program, ended with it."""

import json
import os
import sys
from pathlib import Path

from api.models.client_models import token_of
from cli.private_instance import private_instance


def run_instance(directory: Path) -> None:
    """Run it; tell on standard output how to reach it, in one line of JSON.

    The line has `url`, `token` (of the one client) and `adminKey`. It runs
    until standard input ends, as it does when the program ends.

    Raises:
        CommandError: it did not start.
    """
    with private_instance(directory) as (admin, client):
        told = {
            "url": admin.base_url,
            "token": token_of(
                client.headers["client-id"], client.headers["client-api-key"]
            ),
            "adminKey": admin.headers["admin-api-key"],
        }
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()
        while os.read(0, 1024):
            pass
