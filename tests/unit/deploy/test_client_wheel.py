"""The Python client's wheel: all of it, typed, and with few needs."""

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from config import VERSION
from tests.support.paths import ROOT

pytest.importorskip("hatchling", reason="`make setup` installs it")

CLIENT = ROOT / "clients" / "python"
SOURCE = CLIENT / "src"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("client")
    command = ("-m", "hatchling", "build", "-t", "wheel", "-d", directory)
    subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=CLIENT,
        check=True,
        capture_output=True,
    )
    (made,) = directory.glob("*.whl")
    return made


def test_it_has_all_modules_and_says_that_it_is_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    files = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    information = f"metasync_client-{VERSION}.dist-info/"
    of_the_package = {n for n in names if not n.startswith(information)}
    assert of_the_package == files
    assert "metasync/py.typed" in names
    assert f"{information}licenses/LICENSE" in names


def test_it_needs_few_packages_and_the_service_only_if_wanted(
    wheel: Path,
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = f"metasync_client-{VERSION}.dist-info/METADATA"
        told = Parser().parsestr(archive.read(name).decode())
    needs = told.get_all("Requires-Dist") or []
    always = [each for each in needs if "extra ==" not in each]
    assert len(always) == 3
    assert 'metasync; extra == "embedded"' in [
        each.replace("'", '"') for each in needs
    ]


def test_it_works_by_itself(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys, metasync; print(metasync.__file__); "
        "print(sorted({'api', 'cli', 'config', 'main_app', 'utilities', "
        "'pandas', 'polars', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [
        str(tmp_path / "metasync" / "__init__.py"),
        "[]",
    ]


def test_its_licence_and_its_versions_are_the_services() -> None:
    licence = (CLIENT / "LICENSE").read_text("utf-8")
    assert licence == (ROOT / "LICENSE").read_text("utf-8")
    ours, theirs = (
        tomllib.loads((each / "pyproject.toml").read_text("utf-8"))
        for each in (CLIENT, ROOT)
    )
    assert ours["project"]["version"] == theirs["project"]["version"]
