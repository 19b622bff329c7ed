"""`make fuzz`: a real server, no workers, and some thousands of requests.

Ends with status 1 if an answer is a 5xx, or is not as `/openapi.json` says
it is (status, type of content, headers, body). The same seed makes the
same requests: `FUZZ_SEED=7 make fuzz`; `FUZZ_EXAMPLES=200` makes more.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.support.api_user import ADMIN
from tests.support.live_server import DOCS_SECRET
from tests.support.processes import ServiceProcess, service_process

_TOOL = Path(sys.executable).with_name("st")
_CONFIG = Path(__file__).with_name("schemathesis.toml")
_DEFAULT_SEED = "1"
_DEFAULT_EXAMPLES = "25"
# Of one pass; the tool then ends what it is at.
_MOST_SECONDS = 75


@dataclass(frozen=True)
class Pass:
    """One run of the tool: as whom, and with which kinds of cases."""

    name: str
    headers: Mapping[str, str]
    phases: str


def main() -> int:
    """Run all passes; return the exit status."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        _service(Path(scratch)) as server,
    ):
        made = httpx2.post(
            f"{server.url}/clients", headers=ADMIN, json={"name": "fuzz"}
        ).json()
        return max(_run(server, each, made["clientId"]) for each in _of(made))


def _service(directory: Path) -> AbstractContextManager[ServiceProcess]:
    # No workers: what is created stays as it is until the tool changes it.
    return service_process(
        directory / "data", MAX_REQUEST_BYTES="1000000", NUM_LLM_WORKERS="0"
    )


def _of(client: Mapping[str, str]) -> Sequence[Pass]:
    own = {
        "client_id": client["clientId"],
        "client_api_key": client["api_key"],
    }
    acting = {**ADMIN, "client_id": client["clientId"]}
    return (
        Pass("a client", own, "examples,coverage,fuzzing"),
        Pass("the administrator for a client", acting, "coverage,stateful"),
        Pass("the administrator", ADMIN, "fuzzing"),
    )


def _run(server: ServiceProcess, each: Pass, client_id: str) -> int:
    print(f"\n=== as {each.name} ===", flush=True)
    headers = [
        f"--header={name}: {value}" for name, value in each.headers.items()
    ]
    schema = Path(server.log.parent, "openapi.json")
    described = httpx2.get(
        f"{server.url}/openapi.json", auth=("user", DOCS_SECRET)
    ).json()
    # Its answers do not end.
    del described["paths"]["/events"]
    schema.write_text(json.dumps(described), encoding="utf-8")
    return subprocess.run(
        [
            str(_TOOL),
            f"--config-file={_CONFIG}",
            "run",
            str(schema),
            f"--url={server.url}",
            f"--seed={os.environ.get('FUZZ_SEED', _DEFAULT_SEED)}",
            "--max-examples="
            + os.environ.get("FUZZ_EXAMPLES", _DEFAULT_EXAMPLES),
            f"--max-time={_MOST_SECONDS}",
            f"--phases={each.phases}",
            *headers,
        ],
        check=False,
        env={**os.environ, "FUZZ_CLIENT_ID": client_id},
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
