"""The Bruno collection in tests/bruno, against a server of its own."""

import pytest

from tests.bruno import run


@pytest.fixture(scope="module")
def bruno() -> list[str]:
    try:
        return run.bruno_command()
    except run.BrunoUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_request_of_the_collection_passes(bruno: list[str]) -> None:
    with run.own_server() as server:
        outcome = run.run_collection(bruno, server)

    assert not outcome.failures, "\n".join(outcome.failures)
    assert outcome.exit_code == 0
