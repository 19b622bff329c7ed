"""How a run's limits are shared out: pure functions.

What tells the outcome is set aside before the search begins: the best is
confirmed on validation, and baseline and best are tested. Where the limit
is too small for all items, fewer of them are used.
"""

from dataclasses import dataclass

from api.models.dataset_models import Dataset
from api.models.metric_models import AnyMetric, WeightedMetrics, judges_of
from api.models.optimization_models import DatasetRunCreate

# More items than these make a score hardly more certain.
MOST_TRAIN, MOST_VALIDATION, MOST_TEST = 5_000, 1_000, 2_000
# So much of the jobs may go into telling the outcome.
_MOST_FOR_SCORES = 0.6
_FEWEST_PROPOSALS = 3
_FEWEST_ITEMS = 60
# A proposal is asked for, tried on the failures that it was made of, and
# raced on validation, of which it sees about half.
_SCREENED = 3
_RACED = 0.5


@dataclass(frozen=True, slots=True)
class Shares:
    """How many items are used, and how many jobs are set aside."""

    validation: int
    test: int
    # For the confirmation of the best, and for the test.
    to_confirm: int
    to_test: int

    @property
    def reserved(self) -> int:
        """Jobs that the search may not use."""
        return self.to_confirm + self.to_test


def jobs_per_item(metric: AnyMetric | WeightedMetrics) -> int:
    """Give how many jobs one score takes: the answer and its judges."""
    return 1 + len(list(judges_of(metric)))


def shares(
    validation: int, test: int, max_jobs: int | None, per_item: int
) -> Shares:
    """Share a limit out for so many items on each side."""
    validation = min(validation, MOST_VALIDATION)
    test = min(test, MOST_TEST)
    wanted = per_item * (2 * validation + 2 * test)
    most = wanted if max_jobs is None else int(_MOST_FOR_SCORES * max_jobs)
    if wanted > most:
        validation = max(validation * most // wanted, 1)
        test = max(test * most // wanted, 1)
    return Shares(validation, test, per_item * validation, 2 * per_item * test)


def warnings(request: DatasetRunCreate, dataset: Dataset) -> list[str]:
    """Say what of a request will make its result weak."""
    split, count = request.split, dataset.count
    sides = round(count * split.validation), round(count * split.test)
    per_item = jobs_per_item(request.metric)
    shared = shares(*sides, request.max_jobs, per_item)
    found = []
    if request.max_jobs is not None:
        found += _of_jobs(request.max_jobs, shared, per_item)
        found += _of_items(sides, shared)
    if count < _FEWEST_ITEMS:
        found.append(
            f"The dataset has {count} items: with fewer than "
            f"{_FEWEST_ITEMS}, only large differences can be shown."
        )
    return found


def _of_jobs(max_jobs: int, shared: Shares, per_item: int) -> list[str]:
    left = max_jobs - shared.reserved - per_item * shared.validation
    raced = round(_RACED * shared.validation)
    each = 1 + per_item * (_SCREENED + raced)
    count = max(left // each, 0)
    if count >= _FEWEST_PROPOSALS:
        return []
    needed = max_jobs - left + _FEWEST_PROPOSALS * each
    text = (
        f"maxJobs {max_jobs} allows about {count} proposals; for "
        f"{_FEWEST_PROPOSALS} or more, allow at least {needed} jobs."
    )
    return [text]


def _of_items(sides: tuple[int, int], shared: Shares) -> list[str]:
    names = ("validation", "test")
    used = (shared.validation, shared.test)
    return [
        f"Only {fewer} of {all_} {name} items are used, since maxJobs does "
        "not allow more."
        for name, all_, fewer in zip(names, sides, used, strict=True)
        if fewer < min(all_, MOST_VALIDATION)
    ]
