"""The wheel has all that the commands need, and works by itself."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from config import VERSION
from tests.support.paths import ROOT

pytest.importorskip("hatchling", reason="`make setup` installs it")

PACKAGES = (
    "api",
    "cli",
    "llm_optimizers",
    "llm_sdks",
    "llm_workers",
    "provider_simulator",
    "utilities",
)
_FIND = "from cli.examples import example; print(example('reviews.jsonl'))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheel, as an installation would."""
    directory = tmp_path_factory.mktemp("wheel")
    command = ("-m", "hatchling", "build", "-t", "wheel", "-d", directory)
    subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = directory.glob("*.whl")
    assert wheel.name.startswith(f"metasync-{VERSION}-")
    target = directory / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def _run(installed: Path, *arguments: str) -> str:
    process = subprocess.run(
        [sys.executable, "-P", *arguments],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=installed.parent,
        check=True,
        capture_output=True,
        text=True,
    )
    return process.stdout.strip()


def test_every_module_is_in_it(installed: Path) -> None:
    modules = {
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    modules |= {Path("config.py"), Path("main_app.py")}
    templates = ROOT / "llm_optimizers/report/templates"
    modules |= {path.relative_to(ROOT) for path in templates.iterdir()}
    assets = ROOT / "api/web/assets"
    modules |= {
        path.relative_to(ROOT) for path in assets.rglob("*") if path.is_file()
    }
    assert {m for m in modules if not (installed / m).is_file()} == set()


def test_nothing_else_is_in_it(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    assert names == {
        *PACKAGES,
        "config.py",
        "main_app.py",
        f"metasync-{VERSION}.dist-info",
    }


def test_the_demo_finds_its_input_inside(installed: Path) -> None:
    found = Path(_run(installed, "-c", _FIND))
    assert found == installed / "cli/example_files/reviews.jsonl"
    assert found.read_bytes() == (ROOT / "examples" / found.name).read_bytes()


def test_the_command_runs(installed: Path) -> None:
    assert _run(installed, "-m", "cli", "--version") == f"metasync {VERSION}"
    assert "doctor" in _run(installed, "-m", "cli", "--help")
