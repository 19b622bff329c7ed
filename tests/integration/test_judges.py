"""LangChain's and LiteLLM's clients against a running service.

They have an environment of their own, which `make judges` makes.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from provider_simulator.running import Simulator
from tests.support.api_user import ApiUser
from tests.support.gateway_user import GatewayUser
from tests.support.live_server import LiveServer

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv/judges/bin/python"
DEPLOYMENTS = {"OpenAI": "gpt-x", "Anthropic": "claude-x"}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not PYTHON.exists(), reason="`make judges` installs the libraries"
    ),
]


@pytest.fixture
def judged(
    fresh: LiveServer, simulator: Simulator, own: ApiUser
) -> GatewayUser:
    user = GatewayUser(own.http)
    for name, sdk in (("my-gpt", "OpenAI"), ("my-claude", "Anthropic")):
        user.model(
            name=name,
            sdk=sdk,
            endpoint=simulator.base_urls[sdk],
            key="PROVIDER-KEY",
            deployment=DEPLOYMENTS[sdk],
        )
    assert fresh.url == user.url.rstrip("/")
    return user


@pytest.mark.parametrize("module", ["langchain_clients", "litellm_client"])
def test_the_librarys_users_are_served(
    judged: GatewayUser, simulator: Simulator, module: str
) -> None:
    ran = subprocess.run(
        [str(PYTHON), "-m", "tests.judges.runner", f"tests.judges.{module}"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "METASYNC_URL": judged.url.rstrip("/"),
            "METASYNC_TOKEN": judged.token,
            "SIMULATOR_URL": simulator.url,
            # Its prices would be loaded from the network.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LANGSMITH_TRACING": "false",
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout.splitlines()[-1])
    assert len(results) >= 10
    failed = "\n".join(
        f"{name}: {why}" for name, why in results.items() if why
    )
    assert not failed, failed
