"""The examples of the Python client's pages, run as a reader types them."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from provider_simulator.running import Simulator
from tests.support.api_user import ADMIN, ApiUser
from tests.support.live_server import LiveServer
from tests.support.paths import ROOT

PAGES = ("docs/python.md", "README.md", "clients/python/README.md")
NOTEBOOK = ROOT / "examples/reviews.ipynb"
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def examples_of(page: str) -> list[str]:
    return PYTHON.findall((ROOT / page).read_text("utf-8"))


@pytest.fixture
def variables(
    fresh: LiveServer, own: ApiUser, simulator: Simulator
) -> dict[str, str]:
    """Give a reader's environment: a service with the examples' model."""
    simulator.configure(prices={})
    own.model(
        name="gpt-4o-mini",
        sdk="OpenAI",
        endpoint=simulator.base_urls["OpenAI"],
        key="PROVIDER-KEY",
    )
    own.worker()
    return {
        "PATH": os.environ["PATH"],
        "METASYNC_URL": fresh.url,
        "METASYNC_TOKEN": f"{own.client_id}:{own.key}",
        "ADMIN_API_KEY": ADMIN["admin_api_key"],
    }


def run(code: str, variables: dict[str, str], directory: Path) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=variables,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_examples_run(variables: dict[str, str], tmp_path: Path) -> None:
    for page in PAGES:
        examples = examples_of(page)
        assert examples, page
        # All in one process: an import of a library takes a second.
        code = "\n".join(f"print('---')\n{each}" for each in examples)
        outputs = run(code, variables, tmp_path).split("---\n")[1:]
        assert len(outputs) == len(examples)
        assert re.search(r"I would buy it again\..*(True|False)", outputs[0])
        if page == "docs/python.md":
            assert "\n20 0 " in outputs[1]
            assert "happy: bool" in outputs[2]
            assert "input_tokens" in outputs[2]
            assert "PROCESSED" in outputs[4]
            assert "404 Job not found" in outputs[-1]


def test_the_notebook_runs(variables: dict[str, str], tmp_path: Path) -> None:
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    cells = [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    # As it is kept: without what an earlier run has shown.
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    example = (NOTEBOOK.parent / "reviews.jsonl").read_text("utf-8")
    (tmp_path / "reviews.jsonl").write_text(example, "utf-8")
    code = "\n".join(shown(cell) for cell in cells)
    output = run(code, variables, tmp_path)
    # Every row was answered once.
    assert "requests=40" in output
    assert "\n[]\n" in output


def shown(cell: str) -> str:
    """Print the value of a cell's last line, as a notebook shows it."""
    tree = ast.parse(cell)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        call = ast.parse("print(None)").body[0]
        assert isinstance(call, ast.Expr)
        assert isinstance(call.value, ast.Call)
        call.value.args = [last.value]
        tree.body[-1] = call
    return ast.unparse(tree)
