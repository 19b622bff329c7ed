"""A small `make chaos`."""

from pathlib import Path

import pytest

from chaos.experiment import run
from chaos.plan import small


@pytest.mark.long
def test_nothing_is_lost_and_nothing_is_done_twice(tmp_path: Path) -> None:
    verdict = run(small(seed=3), tmp_path)
    assert not verdict.broken, verdict.table()
