"""The image and the Compose file: valid, pinned, and with few rights."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

_COMPOSE: dict[str, Any] = yaml.safe_load(
    (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
)
_SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]
_DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
_BIN = Path(sys.executable).parent


def test_the_dockerfile_passes_its_linter() -> None:
    subprocess.run([_BIN / "hadolint", ROOT / "Dockerfile"], check=True)


def test_the_compose_file_fits_its_schema() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    file = ROOT / "docker-compose.yml"
    command = [str(_BIN / "check-jsonschema"), *schema, str(file)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("name", _SERVICES)
def test_a_service_has_limits_and_few_rights(name: str) -> None:
    service = _SERVICES[name]
    for limit in ("mem_limit", "pids_limit"):
        assert service[limit], limit
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["tmpfs"][0].startswith("/tmp:size=")


def test_the_service_does_not_sign_in_as_root() -> None:
    address = _SERVICES["metasync"]["environment"]["DB_CONNECTION_STRING"]
    assert "ROOT" not in address
    assert "authSource=admin" not in address
    mongo = _SERVICES["mongo"]["environment"]
    assert mongo["METASYNC_DB_USER"].startswith("${MONGO_USER:?")
    assert mongo["MONGO_INITDB_ROOT_PASSWORD"].startswith(
        "${MONGO_ROOT_PASSWORD:?"
    )


def test_the_databases_secrets_are_no_models_keys() -> None:
    own = _SERVICES["metasync"]["environment"]
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    for name in ("MONGO_USER", "MONGO_PASSWORD", "MONGO_ROOT_PASSWORD"):
        assert own[name] == ""
        assert f"\n{name}=" in example


def test_the_script_gives_rights_on_one_database_only() -> None:
    script = (ROOT / "deploy/mongo/create-user.js").read_text(encoding="utf-8")
    assert re.findall(r"role: \"(\w+)\", db: (\w+)", script) == [
        ("readWrite", "name")
    ]
    variables = set(re.findall(r"process\.env\.(\w+)", script))
    assert variables <= _SERVICES["mongo"]["environment"].keys()


def test_the_database_is_reached_by_the_service_alone() -> None:
    assert _COMPOSE["networks"]["database"] == {"internal": True}
    assert _SERVICES["mongo"]["networks"] == ["database"]
    assert "ports" not in _SERVICES["mongo"]
    for published in _SERVICES["metasync"]["ports"]:
        assert published.startswith("127.0.0.1:")


def test_the_image_is_made_of_hashed_packages() -> None:
    for command in re.findall(r"pip install[^&]*", _DOCKERFILE):
        assert "--require-hashes" in command or "--no-index" in command
    assert re.search(r"^USER 10001:10001$", _DOCKERFILE, re.MULTILINE)


def test_the_image_has_all_that_the_wheel_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    copied = {
        name.rstrip("/")
        for line in re.findall(
            r"^COPY ([^-].*) \S+$", _DOCKERFILE, re.MULTILINE
        )
        for name in line.split()
    }
    let_in = {
        line.removeprefix("!").rstrip("/")
        for line in ignored.splitlines()
        if line.startswith("!")
    }
    assert copied == let_in
    wheel = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.search(r"^packages = \[(.*)\]$", wheel, re.MULTILINE)
    assert packages is not None
    assert set(re.findall(r'"(\w+)"', packages[1])) <= copied
