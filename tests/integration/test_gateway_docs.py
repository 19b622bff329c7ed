"""The examples of the gateway's page, run as a reader types them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from provider_simulator.running import Simulator
from tests.support.api_user import ADMIN
from tests.support.gateway_user import GatewayUser
from tests.support.live_server import ADMIN_KEY, LiveServer

DOCS = Path(__file__).parents[2] / "docs"


def examples_of(page: str, language: str) -> list[str]:
    """Return the examples of a page in one language."""
    return re.findall(
        rf"```{language}\n(.*?)```",
        (DOCS / page).read_text("utf-8"),
        re.DOTALL,
    )


EXAMPLES = examples_of("gateway.md", "python")


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


def test_the_examples_of_the_proxy_run(reader: GatewayUser) -> None:
    shown = [*reader.get("/models")]
    (model_id,) = [
        each["model_id"] for each in shown if each["name"] == "my-claude"
    ]
    variables = {
        "PATH": os.environ["PATH"],
        "METASYNC": reader.url.rstrip("/"),
        "TOKEN": reader.token,
        "ADMIN_API_KEY": ADMIN_KEY,
        "MODEL_ID": model_id,
    }
    (code,) = examples_of("proxy.md", "python")
    first, second, *_ = examples_of("proxy.md", "sh")
    # The simulator has no files.
    messages = first[
        first.index("curl") : first.index("curl $METASYNC/proxy/my-gpt")
    ]
    outputs = [
        subprocess.run(
            command,
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for command in (
            [sys.executable, "-c", code],
            ["sh", "-c", messages],
            ["sh", "-c", second],
        )
    ]
    assert "Say hello." in outputs[0]
    assert "Say hello." in outputs[1]
    assert json.loads(outputs[2])["filters"]["removeHeaders"] == [
        "anthropic-beta"
    ]


def test_the_examples_of_batches_run(
    reader: GatewayUser, tmp_path: Path
) -> None:
    (row,) = examples_of("batches.md", "json")
    (tmp_path / "input.jsonl").write_text(row, "utf-8")
    examples = examples_of("batches.md", "python")
    assert len(examples) == 2
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(examples)],
        cwd=tmp_path,
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
    assert "completed BatchRequestCounts(completed=1, failed=0" in ran.stdout
    assert '"custom_id":"1"' in ran.stdout
    assert ran.stdout.endswith("first succeeded\n")
