"""The examples of the gateway's page, run as a reader types them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from provider_simulator.running import Simulator
from tests.support.api_user import ADMIN
from tests.support.gateway_user import GatewayUser
from tests.support.live_server import LiveServer

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"
EXAMPLES = re.findall(
    r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
)


@pytest.fixture
def reader(
    fresh: LiveServer, simulator: Simulator, own: GatewayUser
) -> GatewayUser:
    user = GatewayUser(own.http)
    for name, sdk in (("my-gpt", "OpenAI"), ("my-claude", "Anthropic")):
        user.model(
            name=name,
            sdk=sdk,
            endpoint=simulator.base_urls[sdk],
            key="PROVIDER-KEY",
        )
    assert fresh.url == user.url.rstrip("/")
    return user


def test_the_examples_run(reader: GatewayUser) -> None:
    assert len(EXAMPLES) > 3
    # All in one process: an import of a library takes a second.
    code = "\n".join(f"print('---')\n{each}" for each in EXAMPLES)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={
            "PATH": os.environ["PATH"],
            "OPENAI_BASE_URL": f"{reader.url}/v1",
            "OPENAI_API_KEY": reader.token,
            "ANTHROPIC_BASE_URL": reader.url,
            "ANTHROPIC_API_KEY": reader.token,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    outputs = ran.stdout.split("---\n")[1:]
    assert len(outputs) == len(EXAMPLES)
    assert sum("Say hello." in output for output in outputs) == 4
    assert "2 ['my-claude', 'my-gpt']" in ran.stdout or (
        "2 ['my-gpt', 'my-claude']" in ran.stdout
    )
    answer = reader.request(
        "PATCH",
        f"/clients/{reader.client_id}",
        200,
        headers=ADMIN,
        json={"gateway": {"keepTexts": False, "maxWaitSeconds": 20}},
    )
    assert answer["gateway"] == {"keepTexts": False, "maxWaitSeconds": 20}
