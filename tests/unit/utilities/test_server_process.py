import pytest

from utilities.server_process import child_environment

BYTECODE = "PYTHONDONTWRITEBYTECODE"


def test_a_child_writes_no_bytecode_where_its_parent_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(BYTECODE, "1")
    assert child_environment()[BYTECODE] == "1"
    monkeypatch.delenv(BYTECODE)
    assert BYTECODE not in child_environment()


def test_a_child_gets_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADMIN_API_KEY", "OPENAI_API_KEY", "DB_CONNECTION_STRING"):
        monkeypatch.setenv(name, "the-secret")
    assert "the-secret" not in child_environment().values()
