"""Calls and time until a prompt answers 95 %, beside gepa."""

import json
import os
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.optimizer.hidden_rules import HiddenRules, Settings
from benchmarks.optimizer.in_memory import Measured, measure
from llm_optimizers.strategies.search import Limits

TARGET = 0.95
_PEER = Path(".venv/gepa/bin/python")
_STRATEGIES = ("reflective", "auto")


def table(seeds: int, settings: Settings) -> Table:
    """Measure all, and give the medians over the seeds."""
    made = Table(
        title=f"Simulated task with {settings.rules} hidden rules, until "
        f"{TARGET:.0%} of validation: medians of {seeds} seeds"
    )
    made.add_column("")
    for heading in ("calls", "seconds", "validation", "test", "reached"):
        made.add_column(heading, justify="right")
    rows = {
        f"Metasync, {name}": _ours(name, seeds, settings)
        for name in _STRATEGIES
    }
    rows |= {
        f"gepa 0.1.4, {way}": [Measured(**each) for each in found]
        for way, found in _theirs(seeds, settings).items()
    }
    for name, found in rows.items():
        made.add_row(name, *_cells(found))
    return made


def _ours(strategy: str, seeds: int, settings: Settings) -> Sequence[Measured]:
    limits = Limits(target_score=TARGET)
    return [
        measure(HiddenRules(seed, settings), strategy, TARGET, limits)
        for seed in range(seeds)
    ]


def _theirs(
    seeds: int, settings: Settings
) -> Mapping[str, Sequence[dict[str, Any]]]:
    if not _PEER.exists():
        return {}
    command = [
        *(str(_PEER), "-m", "benchmarks.optimizer.peer_gepa"),
        *("--seeds", str(seeds), "--target", str(TARGET)),
        *("--settings", json.dumps(asdict(settings))),
    ]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, env=os.environ
    )
    found: Mapping[str, Sequence[dict[str, Any]]] = json.loads(done.stdout)
    return found


def _cells(found: Sequence[Measured]) -> Sequence[str]:
    def median(name: str) -> float:
        return float(statistics.median(getattr(each, name) for each in found))

    return (
        f"{median('calls'):,.0f}",
        f"{median('seconds'):.2f}",
        f"{median('validation'):.1%}",
        f"{median('test'):.1%}",
        f"{sum(each.reached for each in found)} of {len(found)}",
    )
