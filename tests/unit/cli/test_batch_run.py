"""What the loop does with a server that others use, too."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.batch_run import BatchRun
from cli.errors import CommandError
from cli.input_file import Item, Question
from cli.rest_client import ServerRefusedError
from cli.results_file import ResultsFile, Row
from cli.tally import Tally

Json = dict[str, Any]

QUESTION = Question("gpt", "OpenAI", "Is it good?", 0.0)
CLIENT_MAY = {
    "PROCESSED": {"CONSUMED"},
    "ERROR_PROCESSING": {"PENDING"},
}


class FakeServer:
    """Jobs in memory; each look at the summary runs the waiting ones.

    It keeps the rules of the real one that matter here: idempotency keys,
    all-or-nothing changes, the table of transitions.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, Json] = {}
        self.asked: list[str] = []
        self.posts: list[list[str]] = []
        self.sent: list[list[Json]] = []
        self.failing: set[int] = set()
        self.before_run: Callable[[], None] = lambda: None

    def post(self, path: str, body: Json, fields: str = "") -> list[Json]:
        del fields
        assert path == "/jobs/batch"
        self.sent.append(body["jobs"])
        self.posts.append([_key_of(job) for job in body["jobs"]])
        for new in body["jobs"]:
            key = _key_of(new)
            self.jobs.setdefault(
                key, {**new, "jobId": f"job-{key}", "status": "PENDING"}
            )
        made = [self.jobs[key] for key in self.posts[-1]]
        if any(job["status"] == "DELETED" for job in made):
            raise ServerRefusedError(409, "has been deleted; use a new key")
        return [self._shown(job) for job in made]

    def patch(self, path: str, body: Json, fields: str = "") -> None:
        del fields
        assert path == "/jobs/batch"
        for change in body["jobs"]:
            status = self._of(change["jobId"])["status"]
            if change["status"] not in CLIENT_MAY.get(status, ()):
                raise ServerRefusedError(400, "not allowed")
        for change in body["jobs"]:
            self._of(change["jobId"])["status"] = change["status"]

    def get(self, path: str, **where: str) -> Json:
        if path != "/jobs/summary":
            job = self._of(path.removeprefix("/jobs/"))
            if job["status"] == "DELETED":
                raise ServerRefusedError(404, "Job not found")
            return self._shown(job)
        assert where["clientReference.run"]
        self.before_run()
        self.run()
        statuses = [job["status"] for job in self.jobs.values()]
        names = ("PENDING", "PROCESSING", "ERROR_PROCESSING")
        return {name: statuses.count(name) for name in names}

    def pages(self, path: str, status: str, **where: str) -> Iterator[Json]:
        assert path == "/jobs"
        run = where["clientReference.run"]
        for job in list(self.jobs.values()):
            same = job["clientReference"]["run"] == run
            if same and job["status"] == status:
                yield self._shown(job)

    def run(self) -> None:
        """Run what waits."""
        for key, job in self.jobs.items():
            if job["status"] == "PENDING":
                self.asked.append(key)
                bad = _line_of(job) in self.failing
                job["status"] = "ERROR_PROCESSING" if bad else "PROCESSED"

    def set(self, line: int, status: str) -> None:
        """Be somebody else who sets a job's status."""
        for job in self.jobs.values():
            if _line_of(job) == line:
                job["status"] = status

    def _of(self, job_id: str) -> Json:
        return self.jobs[job_id.removeprefix("job-")]

    @staticmethod
    def _shown(job: Json) -> Json:
        good = job["status"] in ("PROCESSED", "CONSUMED", "ERROR_CONSUMING")
        bad = job["status"] == "ERROR_PROCESSING"
        return copy.deepcopy(job) | {
            "responseData": {"answer": "yes"} if good else None,
            "errorData": {"errorType": "NO", "message": "no"} if bad else None,
            "processingMetrics": {"inputTokens": 2, "outputTokens": 1}
            if good
            else None,
        }


def _key_of(job: Json) -> str:
    """Give the item's key; a digest of the request stands behind it."""
    return str(job["idempotencyKey"].rpartition(".")[0])


def _line_of(job: Json) -> int:
    return int(_key_of(job).removeprefix("key-").partition("/")[0])


class Pauses:
    """Counts pauses and takes none; a run that hangs fails its test."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _seconds: float) -> None:
        self.count += 1
        assert self.count < 50, "the run waits for ever"


class NoDisplay:
    def tell(self, trouble: str) -> None:
        """Stay silent."""

    def update(self, tally: Tally) -> None:
        assert tally.ended <= tally.total


class World:
    """A server and a directory; each run is a new process's."""

    def __init__(self, directory: Path) -> None:
        self.server = FakeServer()
        self.prompt_id = "prompt"
        self._directory = directory

    def run(
        self, items: list[Item], out: str = "out.jsonl"
    ) -> tuple[Tally, list[Row]]:
        with self.started(items, out) as batch:
            return batch.execute(items)

    @contextmanager
    def started(self, items: list[Item], out: str) -> Iterator[BatchRun]:
        path = self._directory / out
        with ResultsFile(path, items) as results:
            results.open()
            yield BatchRun(
                self.server,  # type: ignore[arg-type]
                QUESTION,
                self.prompt_id,
                results,
                NoDisplay(),
                pause=Pauses(),
            )

    def forget(self, out: str = "out.jsonl") -> None:
        (self._directory / out).unlink()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def make_items(count: int, **changes: Any) -> list[Item]:
    return [
        Item(
            **{
                "line": number,
                "key": f"key-{number}",
                "own_id": None,
                "label": None,
                "request_data": {"n": number},
                "size": 10,
                **changes,
            }
        )
        for number in range(1, count + 1)
    ]


def test_every_item_is_answered_and_consumed(world: World) -> None:
    tally, failures = world.run(make_items(3, label="YES"))
    assert (tally.answered, tally.failed, tally.kept) == (3, 0, 0)
    assert (tally.labelled, tally.correct) == (3, 3)
    assert (tally.input_tokens, tally.output_tokens) == (6, 3)
    assert failures == []
    statuses = {job["status"] for job in world.server.jobs.values()}
    assert statuses == {"CONSUMED"}


def test_another_request_has_another_key(world: World) -> None:
    keys = set()
    for prompt_id in ("a", "b", "a"):
        world.prompt_id = prompt_id
        world.run(make_items(1))
        (job,) = world.server.sent[-1]
        keys.add(job["idempotencyKey"])
        world.forget()
    assert len(keys) == 2


def test_a_line_that_moves_is_the_same_request(world: World) -> None:
    for line in (1, 7):
        world.run(make_items(1, line=line))
        world.forget()
    first, second = world.server.sent
    assert first == second


def test_submits_in_blocks(world: World) -> None:
    world.run(make_items(1201))
    assert [len(keys) for keys in world.server.posts] == [500, 500, 201]


def test_large_items_make_small_blocks(world: World) -> None:
    world.run(make_items(5, size=3 * 1024 * 1024))
    assert [len(keys) for keys in world.server.posts] == [2, 2, 1]


def test_an_item_larger_than_a_block_is_a_block(world: World) -> None:
    world.run(make_items(2, size=12 * 1024 * 1024))
    assert [len(keys) for keys in world.server.posts] == [1, 1]


def test_failures_are_told_and_tried_again(world: World) -> None:
    world.server.failing = {2}
    tally, failures = world.run(make_items(3))
    assert (tally.answered, tally.failed) == (2, 1)
    assert [row["line"] for row in failures] == [2]
    assert failures[0]["error"]["errorType"] == "NO"
    world.server.failing = set()
    tally, failures = world.run(make_items(3))
    assert (tally.answered, tally.failed, tally.kept) == (3, 0, 2)
    assert failures == []
    assert world.server.asked == ["key-1", "key-2", "key-3", "key-2"]


def test_old_failures_of_other_lines_are_not_ours(world: World) -> None:
    world.server.failing = {3}
    world.run(make_items(3))
    tally, failures = world.run(make_items(2))
    assert (tally.total, tally.answered, tally.failed) == (2, 2, 0)
    assert failures == []


@pytest.mark.parametrize("status", ["PROCESSED", "CONSUMED", "PENDING"])
def test_jobs_of_a_run_that_was_killed_are_found_again(
    world: World, status: str
) -> None:
    world.run(make_items(3))
    world.forget()
    for line in (1, 2, 3):
        world.server.set(line, status)
    tally, _ = world.run(make_items(3))
    assert tally.answered == 3
    asked = 2 if status == "PENDING" else 1
    assert world.server.asked == [*(f"key-{n}" for n in (1, 2, 3))] * asked


class TestOthersOnTheServer:
    def test_a_run_leaves_the_answers_of_another_alone(
        self, world: World
    ) -> None:
        theirs = [Item(9, "key-9", None, None, {}, 2)]
        with world.started(theirs, "theirs.jsonl") as batch:
            batch._submit(theirs)
            world.server.run()
            world.run(make_items(2))
            assert world.server.jobs["key-9"]["status"] == "PROCESSED"
            tally, _ = batch.execute(theirs)
        assert tally.answered == 1

    def test_an_answer_that_another_run_fetched_is_found(
        self, world: World
    ) -> None:
        def fetch() -> None:
            world.server.run()
            world.server.set(1, "CONSUMED")

        world.server.before_run = fetch
        tally, _ = world.run(make_items(2))
        assert tally.answered == 2

    @pytest.mark.parametrize("status", ["CANCELED", "DELETED"])
    def test_a_job_that_somebody_ends_is_a_failure(
        self, world: World, status: str
    ) -> None:
        world.server.before_run = lambda: world.server.set(2, status)
        tally, failures = world.run(make_items(3))
        assert (tally.answered, tally.failed) == (2, 1)
        assert failures[0]["status"] == status
        assert failures[0]["line"] == 2

    @pytest.mark.parametrize("status", ["CANCELED", "DELETED"])
    def test_a_job_that_somebody_ended_is_made_anew(
        self, world: World, status: str
    ) -> None:
        world.server.before_run = lambda: world.server.set(2, status)
        world.run(make_items(3))
        world.server.before_run = lambda: None
        tally, failures = world.run(make_items(3))
        assert (tally.answered, tally.kept, failures) == (3, 2, [])
        assert world.server.asked == ["key-1", "key-3", "key-2/2"]

    @pytest.mark.parametrize("status", ["CANCELED", "DELETED"])
    def test_again_and_again(self, world: World, status: str) -> None:
        for _ in range(3):
            world.run(make_items(7))
            world.forget()
            world.server.set(2, status)
            world.server.set(6, status)
        tally, _ = world.run(make_items(7))
        assert tally.answered == 7
        assert len(world.server.asked) == 7 + 3 * 2

    def test_a_server_that_always_refuses_ends_the_run(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise ServerRefusedError(409, "use a new key")

        monkeypatch.setattr(world.server, "post", refuse)
        with pytest.raises(CommandError, match="use a new key"):
            world.run(make_items(2))

    def test_a_change_that_arrives_twice_does_no_harm(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        patch = world.server.patch

        def twice(path: str, body: Json, fields: str = "") -> None:
            patch(path, body, fields)
            patch(path, body, fields)

        monkeypatch.setattr(world.server, "patch", twice)
        tally, _ = world.run(make_items(3))
        assert tally.answered == 3

    def test_one_that_another_run_retries_does_not_stop_the_others(
        self, world: World
    ) -> None:
        world.server.failing = {1, 2, 3}
        world.run(make_items(3))
        world.server.failing = set()
        patch = world.server.patch

        def late(path: str, body: Json, fields: str = "") -> None:
            if body["jobs"][0]["status"] == "PENDING":
                world.server.set(2, "PENDING")
            patch(path, body, fields)

        world.server.patch = late  # type: ignore[method-assign]
        tally, failures = world.run(make_items(3))
        assert (tally.answered, failures) == (3, [])


def test_a_refused_item_is_named_by_its_line(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ServerRefusedError(400, "batch item 2: requestData: too odd")

    monkeypatch.setattr(world.server, "post", refuse)
    with pytest.raises(CommandError, match="line 4: requestData: too odd"):
        world.run(make_items(9)[1:])


def test_other_refusals_end_the_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ServerRefusedError(403, "no")

    monkeypatch.setattr(world.server, "patch", refuse)
    with pytest.raises(ServerRefusedError):
        world.run(make_items(1))
