"""What a run needs on its server, when several runs start at once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from cli.rest_client import Json, RestClient
from cli.setup import ensure_prompt
from tests.support.api_user import ApiUser

RUNS = 3


class Looking(RestClient):
    """Tells when it has looked for something the first time."""

    looked: Callable[[], object] = staticmethod(lambda: None)

    def pages(self, path: str, **parameters: str | int) -> Iterator[Json]:
        found = list(super().pages(path, **parameters))
        self.looked()
        self.looked = lambda: None
        return iter(found)


@pytest.fixture
def client(user: ApiUser) -> Iterator[Looking]:
    with Looking(str(user.http.base_url), user.headers) as client:
        yield client


def test_runs_that_start_at_once_share_one_prompt(user: ApiUser) -> None:
    barrier = Barrier(RUNS)

    def run(_: int) -> str:
        with Looking(str(user.http.base_url), user.headers) as client:
            client.looked = barrier.wait
            return ensure_prompt(client, "Answer as JSON.")

    with ThreadPoolExecutor(RUNS) as runs:
        ids = set(runs.map(run, range(RUNS)))
    assert ids == {p["promptId"] for p in user.get("/prompts")}
    assert len(ids) == 1


def test_a_prompt_that_somebody_has_changed_is_left_alone(
    user: ApiUser, client: Looking
) -> None:
    changed = ensure_prompt(client, "Answer as JSON.")
    user.patch(f"/prompts/{changed}", {"prompt": "Something else."})
    made = ensure_prompt(client, "Answer as JSON.")
    assert made != changed
    assert ensure_prompt(client, "Answer as JSON.") == made
    assert user.get(f"/prompts/{changed}")["prompt"] == "Something else."
