import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from api.models.metrics import Metrics
from api.models.tried_models import Tried
from api.services.queue.job_outcomes import Result
from api.services.queue.job_work import Failed, Outcome, Requeued, Succeeded
from llm_workers.results import spool as module
from llm_workers.results.spool import Spool, SpoolFile, decode, encode
from tests.support.paths import ROOT
from tests.support.samples import claimed_job, json_objects, logged
from utilities.supervision import PartError

METRICS = Metrics(7, 3, 0.5, 10**9, 2 * 10**9, frozenset({"USD"}))
ANSWER = Succeeded('{"a":1}', METRICS)

# A process to be killed: it holds a spool with one answer, and waits.
HOLDER = """
import sys, time
from pathlib import Path
from llm_workers.results.spool import Spool, decode

spool = Spool(Path(sys.argv[1]))
spool.file("worker").write([decode(sys.argv[2])])
print(spool.process_id, flush=True)
time.sleep(600)
"""

finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(min_value=0, max_value=2**53)
metrics = st.builds(
    Metrics,
    counts,
    counts,
    finite,
    finite,
    finite,
    st.frozensets(st.text(max_size=4), max_size=3),
)
maybe_text = st.none() | st.text()
succeeded = st.builds(Succeeded, st.text(), metrics, maybe_text, maybe_text)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    succeeded,
    st.builds(Failed, json_objects, metrics),
    st.builds(
        Requeued, counts, st.booleans(), st.text(), st.none() | succeeded
    ),
)
jobs = st.builds(
    claimed_job,
    job_id=st.binary(min_size=12, max_size=12).map(ObjectId),
    client_id=st.text(),
    attempts=counts,
    model=st.text(),
    working_prompts=st.lists(st.text(), max_size=3).map(tuple),
    temperature=finite,
    request_json=st.text(),
    eval_prompt=maybe_text,
    meta_model=maybe_text,
)
results = st.builds(Result, jobs, outcomes)


def result(outcome: Outcome = ANSWER, **job: Any) -> Result:
    return Result(claimed_job(**job), outcome)


def id_of(given_one: Result) -> str:
    return str(given_one.job.job_id)


def adopted(data_dir: Path) -> dict[str, list[Result]]:
    """Give what another process would find, by the dead one's name."""
    return {
        directory.name: list(found)
        for directory, found in Spool(data_dir).recover()
    }


def left_behind(data_dir: Path, content: str | bytes) -> None:
    """Leave what a dead process leaves: a file, and a lock that is free."""
    directory = data_dir / "spool" / "dead"
    directory.mkdir(parents=True)
    raw = content.encode() if isinstance(content, str) else content
    (directory / "worker.jsonl").write_bytes(raw)
    (directory / "lock").touch()


@given(results)
def test_every_result_comes_back_as_it_was(given_one: Result) -> None:
    line = encode(given_one)
    assert "\n" not in line
    assert decode(line) == given_one


def test_the_targets_that_were_tried_come_back() -> None:
    one = result()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    tried = Tried(model="m", error_type="TIMEOUT", message="x", at=moment)
    one.job.tries.add(tried)
    assert decode(encode(one)).job.tries.made == [tried]


def test_what_a_job_had_paid_for_before_is_not_written_again() -> None:
    # It has served its purpose; the result goes by the lease token.
    again = decode(encode(result(checkpoint=ANSWER)))
    assert again == Result(replace(again.job, checkpoint=None), again.outcome)
    assert again.outcome == ANSWER


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "5",
        "[]",
        "{}",
        '{"job":{},"kind":"Failed","outcome":{}}',
        '{"job":[],"kind":"Failed","outcome":{}}',
        encode(result())[:-1],
        encode(result())[1:],
        encode(result()).replace('"kind":"Succeeded"', '"kind":"Vanished"'),
        encode(result()).replace('"kind":"Succeeded"', '"kind":["Failed"]'),
        encode(result()).replace('"kind":"Succeeded"', '"kind":"Requeued"'),
        encode(result()).replace('"lease_token"', '"token"'),
        encode(result()).replace('["USD"]', "5"),
        encode(result(job_id=ObjectId("0" * 24))).replace("0" * 24, "0"),
    ],
)
def test_a_damaged_line_is_told_from_a_whole_one(line: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        decode(line)
    assert isinstance(refused.value, ValueError)


def test_damaged_lines_are_skipped_and_logged(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = logged(monkeypatch, module)
    first, second = result(), result(Requeued(5, counted=True, reason="r"))
    lines = [encode(first), "no line", encode(second), encode(first)[:40]]
    left_behind(data_dir, "\n".join(lines))
    assert adopted(data_dir) == {"dead": [first, second]}
    kept = data_dir / "spool-unreadable" / "dead.jsonl"
    assert events == [
        {
            "event": "spool_lines_damaged",
            "process": "dead",
            "count": 2,
            "keptIn": str(kept),
            "log_level": "warning",
        }
    ]
    assert kept.read_text().splitlines() == [lines[1], lines[3]]
    # Found again, because its results could not be stored: said once.
    assert adopted(data_dir) == {"dead": [first, second]}
    assert len(events) == 1
    assert kept.read_text().splitlines() == [lines[1], lines[3]]


def _lock_is_a_directory(directory: Path) -> None:
    (directory / "lock").unlink()
    (directory / "lock").mkdir()


def _file_is_a_directory(directory: Path) -> None:
    (directory / "another.jsonl").mkdir()


@pytest.mark.parametrize(
    "broken", [_lock_is_a_directory, _file_is_a_directory]
)
def test_a_directory_that_cannot_be_read_is_moved_aside(
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[Path], None],
) -> None:
    events = logged(monkeypatch, module)
    answer = result()
    left_behind(data_dir, encode(answer))
    good = data_dir / "spool" / "good"
    shutil.copytree(data_dir / "spool" / "dead", good)
    broken(data_dir / "spool" / "dead")
    spool = Spool(data_dir)
    assert [found.name for found, _ in spool.recover()] == ["good"]
    assert [found.name for found, _ in spool.recover()] == ["good"]
    assert [event["event"] for event in events] == [
        "spool_directory_unreadable"
    ]
    kept = data_dir / "spool-unreadable" / "dead" / "worker.jsonl"
    assert decode(kept.read_text()) == answer


def test_what_can_neither_be_read_nor_moved_stops_nobody(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = logged(monkeypatch, module)
    left_behind(data_dir, "")
    _lock_is_a_directory(data_dir / "spool" / "dead")
    (data_dir / "spool-unreadable").touch()
    spool = Spool(data_dir)
    assert list(spool.recover()) == []
    assert list(spool.recover()) == []
    assert len(events) == 1


def test_a_data_directory_that_cannot_be_written_is_said(
    data_dir: Path,
) -> None:
    data_dir.touch()
    spool = Spool(data_dir)
    for use in (spool.open, spool.check):
        with pytest.raises(PartError, match=r"DATA_DIR .* cannot be written"):
            use()


def test_a_disk_that_was_full_is_found_well_again(data_dir: Path) -> None:
    spool = Spool(data_dir)
    spool.check()
    own = data_dir / "spool" / spool.process_id
    shutil.move(own, data_dir / "elsewhere")
    with pytest.raises(PartError):
        spool.check()
    shutil.move(data_dir / "elsewhere", own)
    spool.check()
    assert [path.name for path in own.iterdir()] == ["lock"]


def test_the_name_of_a_written_file_is_on_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    SpoolFile(tmp_path / "worker.jsonl").write([result()])
    assert synced == [False, True]


def test_bytes_that_are_no_text_damage_their_line_only(data_dir: Path) -> None:
    first, second = result(), result()
    lines = [encode(first).encode(), b"\xff\xfe", encode(second).encode()]
    left_behind(data_dir, b"\n".join(lines))
    assert adopted(data_dir) == {"dead": [first, second]}


@pytest.mark.parametrize("character", ["\n", "\r", "\x0b", "\x1e", "\x00"])
def test_an_answer_with_a_control_character_stays_one_line(
    data_dir: Path, character: str
) -> None:
    answer = result(Succeeded(f'"a{character}b"', METRICS))
    left_behind(data_dir, encode(answer) + "\n")
    assert adopted(data_dir) == {"dead": [answer]}


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_an_answer_with_another_line_end_stays_one_line(
    data_dir: Path, character: str
) -> None:
    answer = result(Succeeded(f'"a{character}b"', METRICS))
    left_behind(data_dir, encode(answer) + "\n")
    assert adopted(data_dir) == {"dead": [answer]}


def test_a_file_holds_what_was_written_last(tmp_path: Path) -> None:
    path = tmp_path / "worker.jsonl"
    file, kept = SpoolFile(path), [result(), result()]
    file.write([result(), result(), result()])
    file.write(kept)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [decode(line) for line in lines] == kept
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_last_one_whole(tmp_path: Path) -> None:
    file, kept = SpoolFile(tmp_path / "worker.jsonl"), result()
    file.write([kept])
    with pytest.raises(ValueError, match="not valid JSON"):
        file.write([result(), result(Succeeded("\ud800", METRICS))])
    text = (tmp_path / "worker.jsonl").read_text(encoding="utf-8")
    assert decode(text) == kept


def test_a_cleared_file_is_gone_and_can_be_cleared_again(
    tmp_path: Path,
) -> None:
    file = SpoolFile(tmp_path / "worker.jsonl")
    file.write([result()])
    file.clear()
    assert list(tmp_path.iterdir()) == []
    file.clear()


def test_the_directory_is_named_after_the_process_and_private(
    data_dir: Path,
) -> None:
    spool = Spool(data_dir)
    spool.open()
    spool.open()
    directory = data_dir / "spool" / spool.process_id
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert Spool(data_dir).process_id != spool.process_id
    spool.close()


def test_nothing_is_made_before_it_is_needed(data_dir: Path) -> None:
    spool = Spool(data_dir)
    assert adopted(data_dir) == {}
    spool.close()
    assert not data_dir.exists()


def test_a_living_processs_directory_is_not_adopted(data_dir: Path) -> None:
    spool = Spool(data_dir)
    spool.file("worker").write([result()])
    assert adopted(data_dir) == {}
    assert list(spool.recover()) == []
    spool.close()


def test_what_a_closed_spool_leaves_is_adopted(data_dir: Path) -> None:
    spool, one, two = Spool(data_dir), result(), result()
    spool.file("worker-a").write([one])
    spool.file("worker-b").write([two])
    spool.file("worker-b").clear()
    spool.close()
    spool.close()
    assert adopted(data_dir) == {spool.process_id: [one, two]}


def test_a_closed_spool_without_leftovers_leaves_nothing(
    data_dir: Path,
) -> None:
    spool = Spool(data_dir)
    file = spool.file("worker")
    file.write([result()])
    file.clear()
    spool.close()
    assert list((data_dir / "spool").iterdir()) == []


def test_a_killed_processs_answers_are_adopted_once_it_is_dead(
    data_dir: Path,
) -> None:
    answer = result()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data_dir), encode(answer)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with holder:
        assert holder.stdout is not None
        name = holder.stdout.readline().strip()
        assert adopted(data_dir) == {}
        holder.send_signal(signal.SIGKILL)
        holder.wait(30)
    assert adopted(data_dir) == {name: [answer]}


def test_two_threads_of_one_worker_have_files_of_their_own(
    data_dir: Path,
) -> None:
    # A stuck thread may still write when its successor has started.
    spool, one, two = Spool(data_dir), result(), result()
    spool.file("worker").write([one])
    spool.file("worker").write([two])
    spool.close()
    (found,) = adopted(data_dir).values()
    assert sorted(found, key=id_of) == sorted([one, two], key=id_of)


def test_a_dead_process_without_answers_is_found_too(data_dir: Path) -> None:
    left_behind(data_dir, "")
    assert adopted(data_dir) == {"dead": []}


def test_who_adopts_holds_the_directory_against_others(
    data_dir: Path,
) -> None:
    left_behind(data_dir, encode(result()))
    adopting = Spool(data_dir).recover()
    directory, _ = next(adopting)
    assert adopted(data_dir) == {}
    adopting.close()  # type: ignore[attr-defined]  # a generator
    assert list(adopted(data_dir)) == [directory.name]


def test_a_discarded_directory_is_gone(data_dir: Path) -> None:
    left_behind(data_dir, encode(result()))
    spool = Spool(data_dir)
    for directory, _ in spool.recover():
        spool.discard(directory)
        spool.discard(directory)
    assert list((data_dir / "spool").iterdir()) == []


def test_only_directories_are_taken_for_processes(data_dir: Path) -> None:
    left_behind(data_dir, "")
    (data_dir / "spool" / "a-file").touch()
    assert list(adopted(data_dir)) == ["dead"]


def test_a_directory_that_is_just_being_made_is_left_alone(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_lock = module._lock_of

    def lock_after_another_process_looked(directory: Path) -> FileLock:
        # Between the making and the locking of the directory.
        monkeypatch.setattr(module, "_lock_of", make_lock)
        assert directory.exists()
        assert adopted(data_dir) == {}
        return make_lock(directory)

    monkeypatch.setattr(module, "_lock_of", lock_after_another_process_looked)
    spool, answer = Spool(data_dir), result()
    spool.file("worker").write([answer])
    assert module._lock_of is make_lock
    assert adopted(data_dir) == {}
    spool.close()
    assert adopted(data_dir) == {spool.process_id: [answer]}


def test_a_directory_that_goes_while_its_owner_locks_it_is_not_lost(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Event()
    failures: list[OSError] = []

    class Watched(FileLock):
        def _acquire(self) -> None:
            super()._acquire()
            if not self.is_locked:
                waiting.set()

    def own() -> None:
        try:
            spool.file("worker").write([answer])
        except OSError as error:
            failures.append(error)

    # Another process found the new directory in the moment between the
    # making of the lock's file and the locking.
    left_behind(data_dir, "")
    other, spool, answer = Spool(data_dir), Spool(data_dir), result()
    spool._own = data_dir / "spool" / "dead"
    adopting = other.recover()
    directory, _ = next(adopting)
    monkeypatch.setattr(
        module,
        "_lock_of",
        lambda found: Watched(found / "lock", thread_local=False),
    )
    owner = threading.Thread(target=own)
    owner.start()
    assert waiting.wait(20)
    other.discard(directory)
    adopting.close()  # type: ignore[attr-defined]  # a generator
    owner.join(20)
    assert not owner.is_alive()
    assert failures == []
    assert adopted(data_dir) == {}
    spool.close()
    assert adopted(data_dir) == {"dead": [answer]}


def test_the_size_is_that_of_what_waits(data_dir: Path) -> None:
    spool = Spool(data_dir)
    assert (spool.size().files, spool.size().bytes) == (0, 0)
    first, second = spool.file("a"), spool.file("b")
    first.write([result()])
    second.write([result(), result()])
    size = spool.size()
    assert size.files == 2
    assert size.bytes > 3 * len(encode(result())) * 0.9
    first.clear()
    second.clear()
    assert spool.size().files == 0
    spool.close()
    assert spool.size().bytes == 0
