"""`metasync policy`, as it is typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.commands import app
from cli.errors import CommandError
from config import Settings

POLICY = """
[roles.support]
includes = ["viewer"]
allow = ["POST /jobs/*/cancel"]
[users."alice@example.com"]
roles = ["support"]
clients = ["*"]
"""


@pytest.fixture(autouse=True)
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["policy", *words])
    if isinstance(result.exception, CommandError):
        raise result.exception
    return result.exit_code, result.stdout


def test_what_is_allowed_says_why(policy: Path) -> None:
    status, text = run(
        "check",
        "alice@example.com",
        "post",
        "/jobs/42/cancel?x=1",
        "--policy",
        str(policy),
    )
    assert status == 0
    assert "the rule 'POST /jobs/*/cancel' of the role support" in text
    assert "clients: all" in text


def test_what_is_refused_has_a_status(policy: Path) -> None:
    status, text = run(
        "check", "bob", "POST", "/jobs/1/cancel", "--policy", str(policy)
    )
    assert status == 1
    assert "refused: there is no role" in text


def test_claims_and_packages(tmp_path: Path) -> None:
    claims = tmp_path / "claims.json"
    claims.write_text(json.dumps({"roles": "viewer", "clients": ["c1"]}))
    words = ("--claims", str(claims))
    status, text = run("check", "bob", "WS", "jobs.list", *words)
    assert (status, "clients: c1" in text) == (0, True)
    assert run("check", "bob", "WS", "jobs.cancel", *words)[0] == 1
    assert run("check", "bob", "GET", "/jobs%2f..", *words)[0] == 0
    assert run("check", "bob", "GET", "/jobsx", *words)[0] == 1


def test_the_roles_are_shown(policy: Path) -> None:
    _, text = run("show", "--policy", str(policy))
    assert "support\n  includes viewer\n  allow POST /jobs/*/cancel" in text
    assert "admin (all clients)" in text


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("[roles.a]\nalow = []\n")
    with pytest.raises(CommandError, match=r"wrong.toml: roles.a.alow"):
        run("check", "bob", "GET", "/", "--policy", str(path))
    with pytest.raises(CommandError, match="There is no role boss"):
        run("check", "bob", "GET", "/", "--role", "boss")
