"""Datasets over a store in memory: their limits, and what is left over."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.core.errors import (
    NotFoundError,
    OverloadedError,
    RuleError,
    TooLargeError,
)
from api.models.dataset_models import (
    DatasetColumns,
    DatasetItemInput,
    SplitName,
)
from api.services.datasets import blocks, upload
from api.services.datasets.dataset_service import DatasetService
from api.services.datasets.files import FileKind
from api.services.datasets.job_items import JobItems
from api.services.datasets.upload import DatasetUpload
from api.services.shared.caller import Caller
from utilities.cosmos_connector import Documents
from utilities.store.in_memory import InMemoryClientManager

ME = Caller("me")
LIMIT = 10_000


class Stored:
    """The service, and its collections."""

    def __init__(self, data_dir: Path) -> None:
        clients = InMemoryClientManager()
        self.items = Documents(clients, "dataset_blocks")
        self.datasets = DatasetService(
            Documents(clients, "datasets"),
            self.items,
            JobItems(Documents(clients, "jobs")),
            LIMIT,
        )
        self.upload = DatasetUpload(self.datasets, LIMIT, data_dir)

    async def blocks(self) -> int:
        return len(await self.items.find_all({}))


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path / "data")


async def numbered(
    count: int, size: int = 1
) -> AsyncIterator[DatasetItemInput]:
    for number in range(count):
        yield DatasetItemInput(request_data={"n": number, "t": "x" * size})


async def body(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_items_are_found_by_their_positions(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ITEMS_OF_A_BLOCK", 7)
    service = stored.datasets
    made = await service.add("d", numbered(50), ME)
    assert made.blocks == await stored.blocks() == 8
    index = await service.index(made)
    for side in SplitName:
        positions = await service.positions(made, side, 3)
        found = await service.items_at(made, index, positions)
        assert [each.request_data["n"] for each in found] == list(positions)
    assert len(await service.load(made)) == 50


async def test_a_dataset_that_is_refused_leaves_nothing(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ITEMS_OF_A_BLOCK", 2)
    monkeypatch.setattr(blocks, "ITEMS_LIMIT", 9)
    service = stored.datasets
    with pytest.raises(RuleError, match="at most 9"):
        await service.add("d", numbered(10), ME)
    with pytest.raises(RuleError, match="bytes in all"):
        await service.add("d", numbered(8, 2000), ME)
    assert await stored.blocks() == 0
    await service.add("d", numbered(9), ME)


async def test_a_deleted_dataset_has_no_items(stored: Stored) -> None:
    service = stored.datasets
    made = await service.add("d", numbered(3), ME)
    await service.delete(made.dataset_id, ME)
    assert await stored.blocks() == 0
    with pytest.raises(NotFoundError):
        await service.index(made)
    with pytest.raises(NotFoundError):
        await service.load(made)


async def test_a_file_has_a_limit_and_is_removed(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = DatasetColumns()
    chunk = b"x\n" * 1000
    with pytest.raises(TooLargeError, match="10000 bytes"):
        await stored.upload.create(
            "d", FileKind.CSV, columns, body(*[chunk] * 6), ME
        )
    assert list((tmp_path / "data").iterdir()) == []
    left = tmp_path / "data" / "upload-left"
    left.mkdir()
    os.utime(left, (0, 0))
    with pytest.raises(RuleError, match="name the columns"):
        await stored.upload.create("d", FileKind.CSV, columns, body(), ME)
    assert not left.exists()
    monkeypatch.setattr(upload, "_AT_ONCE", 0)
    with pytest.raises(OverloadedError):
        await stored.upload.create("d", FileKind.CSV, columns, body(), ME)


async def test_parquet_needs_its_library(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "api.services.datasets.files.importlib.util.find_spec",
        lambda _: None,
    )
    with pytest.raises(RuleError, match=r"metasync\[parquet\]"):
        await stored.upload.create(
            "d", FileKind.PARQUET, DatasetColumns(), body(b"PAR1"), ME
        )


async def test_parquet_that_unfolds_to_more_than_allowed_is_refused(
    stored: Stored,
) -> None:
    import io  # noqa: PLC0415

    from arro3.core import Array, DataType, Table  # noqa: PLC0415
    from arro3.io import write_parquet  # noqa: PLC0415

    # Equal values take hardly any space.
    values = Array(["x" * 100] * 5000, DataType.string())
    file = io.BytesIO()
    write_parquet(Table.from_pydict({"t": values}), file)
    assert len(file.getvalue()) < LIMIT
    with pytest.raises(RuleError, match="larger than a dataset"):
        await stored.upload.create(
            *("d", FileKind.PARQUET, DatasetColumns()),
            body(file.getvalue()),
            ME,
        )
