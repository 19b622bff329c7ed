"""A file of credentials becomes variables that say the same."""

import json
import stat
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.credentials_command import import_credentials
from cli.errors import CommandError
from cli.terminal import Terminal

ONE = {"clientId": "a", "clientSecret": "s1", "tenant": "t", "name": "Team A"}
OTHER = {"clientId": "b", "clientSecret": "s2", "tenant": "t"}


def imported(directory: Path, text: str) -> dict[str, str | None]:
    source, env_file = directory / "creds.json", directory / ".env"
    source.write_text(text, "utf-8")
    import_credentials(
        source, Terminal(), model=None, env_file=env_file, server=None
    )
    return dict(dotenv_values(env_file))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([ONE, OTHER]),
        json.dumps(ONE) + "\n\n" + json.dumps(OTHER) + "\n",
    ],
)
def test_lists_and_lines_are_read(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("OPENAI_API_KEY=x")
    found = imported(tmp_path, text)
    assert list(found) == [
        "OPENAI_API_KEY",
        "MODEL_CREDENTIAL_TEAM_A",
        "MODEL_CREDENTIAL_B",
    ]
    assert json.loads(str(found["MODEL_CREDENTIAL_TEAM_A"])) == ONE
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    again = imported(tmp_path, text)
    assert again == found
    shown = capsys.readouterr().out
    assert "was there already" in shown
    assert "s1" not in shown


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=st.text(min_size=1, max_size=40))
def test_any_secret_is_read_back_as_it_was(
    tmp_path: Path, secret: str
) -> None:
    (tmp_path / ".env").unlink(missing_ok=True)
    text = json.dumps({**ONE, "clientSecret": secret})
    found = imported(tmp_path, text)
    (value,) = found.values()
    assert json.loads(str(value))["clientSecret"] == secret


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "0 credentials"),
        ("nothing", "neither JSON"),
        ("[1]", "no JSON object"),
        (json.dumps([ONE, ONE]), "another one has the name"),
        (json.dumps([{"clientId": "a"}]), "credential 1"),
    ],
)
def test_what_cannot_be_used_changes_nothing(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        imported(tmp_path, text)
    assert not (tmp_path / ".env").exists()


def test_another_one_of_that_name_is_kept(tmp_path: Path) -> None:
    before = imported(tmp_path, json.dumps(ONE))
    with pytest.raises(CommandError, match="remove its line"):
        imported(tmp_path, json.dumps({**ONE, "clientSecret": "new"}))
    assert dict(dotenv_values(tmp_path / ".env")) == before
