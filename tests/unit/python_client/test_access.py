import pickle

import pytest

from metasync import ConfigurationError, Metasync
from metasync.access import Access, find_access

URL, TOKEN = "http://127.0.0.1:8001", "client:secret-key"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("METASYNC_URL", "METASYNC_TOKEN", "ADMIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_arguments_come_before_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METASYNC_URL", "http://set/")
    monkeypatch.setenv("METASYNC_TOKEN", "a:b")
    found = find_access(None, None, None)
    assert found == Access("http://set", "a", "b")
    found = find_access(URL + "/", TOKEN, "admin")
    assert found == Access(URL, "client", "secret-key", "admin")


def test_without_a_url_there_is_none_and_a_token_alone_is_an_error() -> None:
    assert find_access(None, None, None) is None
    with pytest.raises(ConfigurationError, match="METASYNC_URL"):
        find_access(None, TOKEN, None)
    with pytest.raises(ConfigurationError, match="METASYNC_TOKEN"):
        find_access(URL, None, None)


@pytest.mark.parametrize(
    "token", ["", " ", "no-colon", ":key", "id:", "id:clé"]
)
def test_a_token_that_is_none_is_refused_without_being_told(
    token: str,
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        find_access(URL, token, None)
    assert not token.strip(": ") or token not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["localhost:8001", "ftp://host", "http://", "http://me:pw@host", "//x"],
    ids=["no-scheme", "ftp", "no-host", "password", "relative"],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Metasync(url, TOKEN)
    assert "pw" not in str(refused.value)


def test_nothing_shows_the_keys() -> None:
    access = Access(URL, "client", "secret-key", "admin-key")
    client = Metasync(URL, TOKEN, admin_key="admin-key")
    for shown in (repr(access), repr(client), str(client)):
        assert "secret-key" not in shown
        assert "admin-key" not in shown
    assert access.without_secrets("x secret-key y admin-key") == "x *** y ***"


def test_only_the_administrators_requests_have_the_administrators_key() -> (
    None
):
    access = Access(URL, "client", "key", "admin-key")
    assert "admin-api-key" not in access.headers()
    assert access.headers(as_admin=True) == {"admin-api-key": "admin-key"}
    with pytest.raises(ConfigurationError, match="ADMIN_API_KEY"):
        Access(URL, "client", "key").headers(as_admin=True)


def test_errors_can_be_sent_to_other_processes() -> None:
    from metasync.errors import (  # noqa: PLC0415 - only here
        NotFoundError,
        RowFailedError,
    )

    for error in (
        NotFoundError(404, "no such job", correlation_id="c"),
        RowFailedError(3, "DELETED", "gone", job_id="j"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error)
        assert vars(again) == vars(error)
