import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.errors import CommandError
from cli.input_file import Item
from cli.results_file import ResultsFile, Row, row_of
from utilities.payload import MAX_DEPTH


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def item(number: int, **changes: Any) -> Item:
    fields: dict[str, Any] = {
        "line": number,
        "key": f"key-{number}",
        "own_id": f"id-{number}",
        "label": None,
        "request_data": {},
        "size": 2,
        **changes,
    }
    return Item(**fields)


def row(asked: Item, response: object = "fine", **changes: Any) -> Row:
    job = {
        "jobId": f"job-{asked.line}",
        "status": "PROCESSED",
        "responseData": response,
        "errorData": None,
        "processingMetrics": {"inputTokens": 1},
        **changes,
    }
    return row_of(asked, job)


def failed(asked: Item) -> Row:
    error = {"errorType": "BAD_REQUEST", "message": "no"}
    return row(asked, None, status="ERROR_PROCESSING", errorData=error)


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def written(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def run(path: Path, items: list[Item], *rows: Row) -> ResultsFile:
    """Be a run of these items that gets these rows."""
    with ResultsFile(path, items) as results:
        results.open()
        results.write(rows)
    return results


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file grow over `size` bytes: the system's own way to fail."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


ONE, TWO, THREE = item(1), item(2), item(3)


class TestRows:
    def test_an_answer(self) -> None:
        assert row(ONE, {"a": 1}) == {
            "id": "id-1",
            "line": 1,
            "status": "PROCESSED",
            "response": {"a": 1},
            "metrics": {"inputTokens": 1},
            "jobId": "job-1",
            "key": "key-1",
        }

    @pytest.mark.parametrize("status", ["CONSUMED", "ERROR_CONSUMING"])
    def test_what_became_of_an_answer_is_not_its_status(
        self, status: str
    ) -> None:
        assert row(ONE, status=status)["status"] == "PROCESSED"

    def test_a_failure_has_the_error_and_is_not_judged(self) -> None:
        made = failed(item(1, label="x"))
        assert made["status"] == "ERROR_PROCESSING"
        assert made["error"] == {"errorType": "BAD_REQUEST", "message": "no"}
        assert "correct" not in made

    @pytest.mark.parametrize("status", ["CANCELED", "DELETED"])
    def test_a_job_that_somebody_ended_says_so(self, status: str) -> None:
        made = row(ONE, None, status=status)
        assert made["status"] == status
        assert made["error"]["errorType"] == status
        assert status.lower() in made["error"]["message"]

    @pytest.mark.parametrize(
        ("response", "label"),
        [
            ({"sentiment": "positive"}, "positive"),
            ({"sentiment": " Positive\n", "why": "x"}, "positive"),
            ({"sentiment": "positive"}, " POSITIVE "),
            ("positive", "positive"),
            ({"right": True}, "True"),
            ({"right": True}, "true"),
            (7, "7"),
            ({"label": ["a"]}, "['a']"),
        ],
    )
    def test_right(self, response: object, label: str) -> None:
        made = row(item(1, label=label), response)
        assert made["label"] == label
        assert made["correct"] is True

    @pytest.mark.parametrize(
        "response",
        [{}, None, [], "", {"why": "x", "sentiment": "positive"}],
    )
    def test_wrong(self, response: object) -> None:
        made = row(item(1, label="positive"), response)
        assert made["correct"] is False


class TestOneRun:
    def test_writes_rows_as_they_come(self, path: Path) -> None:
        with ResultsFile(path, [ONE, TWO]) as results:
            results.open()
            results.write([row(TWO)])
            assert written(path) == [row(TWO)]
            results.write([row(ONE)])
        assert written(path) == [row(TWO), row(ONE)]

    def test_makes_the_directory(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "out.jsonl"
        run(path, [ONE], row(ONE))
        assert written(path) == [row(ONE)]

    def test_leaves_no_file_without_a_result(self, path: Path) -> None:
        run(path, [ONE])
        assert not path.exists()

    def test_leaves_an_empty_file_that_was_there(self, path: Path) -> None:
        path.touch()
        run(path, [ONE])
        assert path.read_bytes() == b""

    def test_takes_answers_as_deep_as_the_server_does(
        self, path: Path
    ) -> None:
        deep: object = 1
        for _ in range(MAX_DEPTH):
            deep = [deep]
        run(path, [ONE], row(ONE, deep))
        assert run(path, [ONE]).kept == {"key-1": row(ONE, deep)}

    def test_says_when_the_disk_is_full(self, path: Path) -> None:
        run(path, [ONE, TWO], row(ONE))
        with (
            full_disk(path.stat().st_size + 50),
            pytest.raises(CommandError, match="Cannot write") as error,
        ):
            run(path, [ONE, TWO], row(TWO))
        assert "again" in str(error.value)
        run(path, [ONE, TWO], row(TWO))
        assert written(path) == [row(ONE), row(TWO)]


class TestTheNextRun:
    def test_keeps_what_was_answered(self, path: Path) -> None:
        run(path, [ONE, TWO], row(ONE))
        with ResultsFile(path, [ONE, TWO]) as results:
            assert results.kept == {"key-1": row(ONE)}
            results.open()
            results.write([row(TWO)])
        assert written(path) == [row(ONE), row(TWO)]

    def test_touches_nothing_when_nothing_changes(self, path: Path) -> None:
        run(path, [ONE], row(ONE))
        before = path.stat()
        run(path, [ONE])
        assert path.stat().st_ino == before.st_ino
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        assert names_in(path.parent) == [path.name]

    def test_drops_failures(self, path: Path) -> None:
        run(path, [ONE, TWO], row(ONE), failed(TWO))
        assert set(run(path, [ONE, TWO]).kept) == {"key-1"}
        assert written(path) == [row(ONE)]

    @pytest.mark.parametrize("cut", [1, 5, 8, 20, -20, -1])
    def test_drops_a_row_that_a_killed_run_left_half_written(
        self, path: Path, cut: int
    ) -> None:
        run(path, [ONE, TWO], row(ONE))
        whole = json.dumps(row(TWO)).replace(": ", ":").encode()
        with path.open("ab") as file:
            file.write(whole[:cut])
        run(path, [ONE, TWO], row(TWO))
        assert written(path) == [row(ONE), row(TWO)]

    def test_drops_a_row_that_was_cut_inside_a_character(
        self, path: Path
    ) -> None:
        run(path, [ONE, TWO], row(ONE))
        with path.open("ab") as file:
            file.write('{"id":"ü'.encode()[:-1])
        assert set(run(path, [ONE, TWO]).kept) == {"key-1"}

    def test_keeps_a_row_that_lacks_only_its_newline(self, path: Path) -> None:
        run(path, [ONE, TWO], row(ONE))
        path.write_bytes(path.read_bytes()[:-1])
        run(path, [ONE, TWO], row(TWO))
        assert written(path) == [row(ONE), row(TWO)]

    @pytest.mark.parametrize("mark", ["\u2028", "\x85", "ü"])
    def test_keeps_answers_with_odd_characters(
        self, path: Path, mark: str
    ) -> None:
        answer = {"text": f"one{mark}two"}
        run(path, [ONE], row(ONE, answer))
        assert run(path, [ONE]).kept["key-1"]["response"] == answer

    def test_names_a_line_by_where_it_is_now(self, path: Path) -> None:
        run(path, [ONE], row(ONE))
        run(path, [item(9, key="key-1", own_id="id-1")])
        assert [r["line"] for r in written(path)] == [9]

    def test_judges_by_the_label_of_now(self, path: Path) -> None:
        run(path, [item(1, label="a")], row(item(1, label="a"), "b"))
        corrected = item(1, label="b")
        assert run(path, [corrected]).kept["key-1"]["correct"] is True
        assert written(path)[0]["label"] == "b"
        assert "correct" not in run(path, [ONE]).kept["key-1"]


class TestAnotherQuestion:
    """Rows of lines that are not in this run's input."""

    def test_moves_aside_and_the_file_has_this_run_only(
        self, path: Path
    ) -> None:
        run(path, [ONE, TWO], row(ONE), row(TWO))
        with ResultsFile(path, [TWO, THREE]) as results:
            assert results.open() == 1
            results.write([row(THREE)])
        assert written(path) == [row(TWO), row(THREE)]
        assert results.earlier.name == "results.earlier.jsonl"
        assert written(results.earlier) == [row(ONE)]

    def test_moves_only_when_the_run_begins(self, path: Path) -> None:
        run(path, [ONE], row(ONE))
        with ResultsFile(path, [TWO]):
            pass
        assert written(path) == [row(ONE)]
        assert names_in(path.parent) == [path.name]

    def test_comes_back_when_it_is_asked_again(self, path: Path) -> None:
        run(path, [ONE], row(ONE))
        run(path, [TWO], row(TWO))
        results = run(path, [ONE])
        assert results.kept == {"key-1": row(ONE)}
        assert written(path) == [row(ONE)]
        assert run(path, [TWO]).kept == {"key-2": row(TWO)}
        assert written(path) == [row(TWO)]

    def test_is_kept_once(self, path: Path) -> None:
        for _ in range(3):
            run(path, [ONE], row(ONE))
            results = run(path, [TWO], row(TWO))
        assert len(written(results.earlier)) == 2

    def test_failures_are_not_kept(self, path: Path) -> None:
        run(path, [ONE], failed(ONE))
        results = run(path, [TWO], row(TWO))
        assert not results.earlier.exists()


NOT_OURS = [
    b"my\nnotes\n",
    b"my notes",
    b'{"id":1,"text":"an input"}\n',
    b'{"key":"k","status":"x"}\n',
    b"[]\n",
    b"\xff\xfe\x00",
    b'{"name": "an object of others"',
    b"{}",
    b"\x00" * 100,
]


class TestSomebodyElsesFile:
    @pytest.mark.parametrize("content", NOT_OURS)
    def test_is_refused_untouched(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(CommandError, match="another --out") as error:
            run(path, [ONE])
        assert "results.jsonl" in str(error.value)
        assert path.read_bytes() == content
        assert names_in(path.parent) == [path.name]

    def test_as_the_earlier_file_too(self, path: Path) -> None:
        earlier = path.with_name("results.earlier.jsonl")
        earlier.write_text("notes\n")
        with pytest.raises(CommandError, match="earlier"):
            run(path, [ONE], row(ONE))
        assert earlier.read_text() == "notes\n"

    def test_a_damaged_row_in_the_middle_is_no_torn_end(
        self, path: Path
    ) -> None:
        run(path, [ONE, TWO], row(ONE))
        path.write_bytes(b'{"id":"cut\n' + path.read_bytes())
        with pytest.raises(CommandError, match="line 1"):
            run(path, [ONE, TWO])

    def test_a_directory_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="not a file"):
            run(tmp_path, [ONE])

    def test_a_place_below_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(CommandError, match="Cannot write"):
            run(tmp_path / "file" / "out.jsonl", [ONE])

    def test_a_link_stays_a_link(self, path: Path, tmp_path: Path) -> None:
        real = tmp_path / "elsewhere.jsonl"
        run(real, [ONE, TWO], row(ONE), failed(TWO))
        path.symlink_to(real)
        run(path, [ONE, TWO], row(TWO))
        assert path.is_symlink()
        assert written(real) == [row(ONE), row(TWO)]
