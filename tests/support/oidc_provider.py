"""A certified OpenID Connect provider from npm, in a process of its own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.support.live_server import free_port
from tests.support.paths import ROOT
from tests.support.waiting import eventually

HOME = ROOT / ".venv" / "oidc"
_SCRIPT = Path(__file__).with_suffix(".mjs")
CLIENT_ID, CLIENT_SECRET = "metasync", "a secret: with / signs"
ROBOT = ("robot", "robot-secret")


def why_not() -> str | None:
    """Say why there is no provider here; None: there is one."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (HOME / "node_modules" / "oidc-provider").is_dir():
        return "oidc-provider is not installed: make .venv/oidc/.ready"
    return None


@contextmanager
def oidc_provider(service: str, claims: str = "token") -> Iterator[str]:
    """Run it for a service until the block ends; yield its issuer.

    `claims` says where the claims are: in the ID token or `userinfo`.
    """
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        ["node", str(_SCRIPT), str(HOME), str(port), service],
        env={**os.environ, "CLAIMS": claims},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            eventually(lambda: _answers(issuer), seconds=60, what=issuer)
            yield issuer
        finally:
            process.terminate()


def _answers(issuer: str) -> bool:
    try:
        path = "/.well-known/openid-configuration"
        return httpx2.get(issuer + path).is_success
    except httpx2.TransportError:
        return False
