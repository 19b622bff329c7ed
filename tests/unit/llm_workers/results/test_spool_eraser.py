import asyncio
import stat
from pathlib import Path

from api.services.keeping.erasure import ErasedClients
from llm_workers.results.spool import UNREADABLE
from llm_workers.results.spool_eraser import SpoolEraser, remove_lines
from tests.support.samples import becomes
from utilities.signals import Signals
from utilities.store.in_memory import InMemoryDocuments

LINES = '{"client":"a"} marker\n{"client":"b"}\nbroken "a" mark'


def test_only_the_lines_of_the_clients_go(tmp_path: Path) -> None:
    inner = tmp_path / "process"
    inner.mkdir()
    mixed, whole = tmp_path / "mixed.jsonl", inner / "whole.jsonl"
    mixed.write_text(LINES)
    mixed.chmod(0o600)
    whole.write_text('{"client":"a"}\n')
    (inner / "lock").write_text("")
    remove_lines(tmp_path, ['"a"'])
    assert mixed.read_text() == '{"client":"b"}'
    assert stat.S_IMODE(mixed.stat().st_mode) == 0o600
    assert not whole.exists()
    assert {path.name for path in inner.iterdir()} == {"lock"}


def test_nothing_to_clean_is_no_error(tmp_path: Path) -> None:
    remove_lines(tmp_path / "missing", ["a"])


async def test_the_disk_is_cleaned_at_the_begin_and_at_the_end(
    tmp_path: Path,
) -> None:
    erasures = InMemoryDocuments("erasures")
    erasure = {"_id": "client-a", "status": "RUNNING", "disksCleaned": 0}
    await erasures.insert(erasure)
    left = tmp_path / UNREADABLE / "x.jsonl"
    left.parent.mkdir()
    left.write_text('{"client_id":"client-a"}\n')
    part = SpoolEraser(tmp_path, ErasedClients(erasures), Signals(), 0.01)
    task = asyncio.create_task(part.run())
    try:
        await becomes(lambda: not left.exists())
        # Kept aside meanwhile, by a worker that ended late.
        left.write_text('{"client_id":"client-a"}\n')
        await erasures.update({"_id": "client-a"}, {"status": "DONE"})
        await becomes(lambda: not left.exists())
    finally:
        part.stop()
        await task
    found = await erasures.find_one({"_id": "client-a"})
    assert found is not None
    assert found["disksCleaned"] == 1
