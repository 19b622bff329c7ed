"""How sure a score is, and whether two scores differ; pure functions.

Scores are from 0 to 1. Tests are two-sided and paired: both sides have
been measured on the same items. The same seed gives the same figures.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import compress

RESAMPLES = 2000
ALPHA = 0.05
_BINARY = (0.0, 1.0)
# Sign patterns that are all tried: at most so many differing pairs.
_EXACT_PAIRS = 14
# Above it, resampling gives what the normal approximation gives.
_MOST_RESAMPLED = 2000


class Verdict(StrEnum):
    """What a paired test says of a change."""

    IMPROVED = "improved"
    NO_DIFFERENCE = "no difference"
    WORSE = "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The mean difference of two sides, second minus first.

    `low` and `high` are its 95 % bootstrap interval.
    """

    difference: float
    low: float
    high: float
    p_value: float


def mean(scores: Sequence[float]) -> float:
    """Give the mean; 0 of no scores."""
    return math.fsum(scores) / len(scores) if scores else 0.0


def interval(
    scores: Sequence[float], seed: int = 0, confidence: float = 1 - ALPHA
) -> tuple[float, float]:
    """Give an interval for the mean of scores.

    Of scores that are all 0 or 1: Wilson's score interval (Wilson 1927),
    which is also right for few items and near the ends, where the
    bootstrap's would be a point. Otherwise the percentile bootstrap
    (Efron 1979). No scores give (0, 1).
    """
    if not scores:
        return 0.0, 1.0
    if all(score in _BINARY for score in scores):
        return _wilson(math.fsum(scores), len(scores), confidence)
    low, high = _bootstrap(scores, seed, confidence)
    return max(low, 0.0), min(high, 1.0)


def compare(
    first: Sequence[float], second: Sequence[float], seed: int = 0
) -> Comparison:
    """Compare two sides, whose scores stand in the same order of items.

    The p-value is exact (McNemar's exact test) where all scores are 0 or
    1, otherwise that of a paired permutation test, which tries all signs
    of the differences if they are few.

    Raises:
        ValueError: the sides have different numbers of scores.
    """
    differences = [b - a for a, b in zip(first, second, strict=True)]
    if not differences:
        return Comparison(0.0, 0.0, 0.0, 1.0)
    low, high = _bootstrap(differences, seed, 1 - ALPHA)
    p_value = paired_p_value(first, second, seed)
    return Comparison(mean(differences), low, high, p_value)


def paired_p_value(
    first: Sequence[float], second: Sequence[float], seed: int = 0
) -> float:
    """Give the p-value of `compare` alone."""
    differences = [b - a for a, b in zip(first, second, strict=True)]
    if all(score in _BINARY for score in (*first, *second)):
        return _mcnemar(differences)
    return _permutation(differences, seed)


def verdict(
    first: Sequence[float],
    second: Sequence[float],
    seed: int = 0,
    alpha: float = ALPHA,
) -> Verdict:
    """Say whether the second side is better than the first.

    If nothing has changed, `improved` is said with a probability of at
    most `alpha` / 2: both tests keep their level at any number of items
    (the exact one is conservative), and half of it lies on each side. It
    holds only for scores that no choice was made by: of a test split that
    is looked at once.
    """
    if paired_p_value(first, second, seed) > alpha:
        return Verdict.NO_DIFFERENCE
    before, after = mean(first), mean(second)
    if after == before:
        return Verdict.NO_DIFFERENCE
    return Verdict.IMPROVED if after > before else Verdict.WORSE


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests (Holm 1979).

    Those at or below a level keep the probability of even one false claim
    at that level.
    """
    count = len(p_values)
    order = sorted(range(count), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * count, 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(p_values[index] * (count - rank), 1.0))
        adjusted[index] = highest
    return adjusted


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below which this share lies, by the nearest rank."""
    ordered = sorted(values)
    rank = max(math.ceil(share * len(ordered)), 1)
    return ordered[rank - 1]


def _wilson(hits: float, count: int, confidence: float) -> tuple[float, float]:
    z = _quantile((1 + confidence) / 2)
    share = hits / count
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    reach = (
        z
        / scale
        * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    )
    # Rounding must not put the share itself outside.
    low = min(middle - reach, share)
    return max(low, 0.0), min(max(middle + reach, share), 1.0)


def _quantile(share: float) -> float:
    from statistics import NormalDist  # noqa: PLC0415 - of this file's name

    return NormalDist().inv_cdf(share)


def _bootstrap(
    values: Sequence[float], seed: int, confidence: float
) -> tuple[float, float]:
    count = len(values)
    middle = mean(values)
    if all(value == values[0] for value in values):
        return middle, middle
    if count > _MOST_RESAMPLED:
        # The central limit theorem is exact enough, and takes no minutes.
        spread = math.fsum((value - middle) ** 2 for value in values)
        error = math.sqrt(spread / (count - 1) / count)
        reach = _quantile((1 + confidence) / 2) * error
        return middle - reach, middle + reach
    means = _resampled(values, seed)
    tail = (1 - confidence) / 2
    return (
        means[math.floor(tail * RESAMPLES)],
        means[min(math.ceil((1 - tail) * RESAMPLES), RESAMPLES) - 1],
    )


def _resampled(values: Sequence[float], seed: int) -> list[float]:
    """Give the means of resamples, in ascending order."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    count = len(values)
    return sorted(
        math.fsum(chance.choices(values, k=count)) / count
        for _ in range(RESAMPLES)
    )


def _mcnemar(differences: Sequence[float]) -> float:
    """Give the exact p-value for pairs of 0 and 1 (McNemar 1947)."""
    gained = sum(difference > 0 for difference in differences)
    lost = sum(difference < 0 for difference in differences)
    changed = gained + lost
    if changed == 0:
        return 1.0
    fewer = min(gained, lost)
    # In logarithms: binomials of many items are no floats.
    tail = math.fsum(
        math.exp(
            math.lgamma(changed + 1)
            - math.lgamma(hits + 1)
            - math.lgamma(changed - hits + 1)
            - changed * math.log(2)
        )
        for hits in range(fewer + 1)
    )
    return min(2 * tail, 1.0)


def _permutation(differences: Sequence[float], seed: int) -> float:
    """Give the p-value of a paired permutation test (Fisher 1935)."""
    changed = [abs(each) for each in differences if each]
    if not changed:
        return 1.0
    observed = abs(math.fsum(differences))
    # Equal sums must not differ by rounding.
    least = observed - 1e-9 * max(observed, 1.0)
    if len(changed) <= _EXACT_PAIRS:
        return _all_signs(changed, least)
    if len(changed) > _MOST_RESAMPLED:
        spread = math.sqrt(math.fsum(each * each for each in changed))
        return math.erfc(observed / spread / math.sqrt(2))
    return _some_signs(changed, least, seed)


def _all_signs(changed: Sequence[float], least: float) -> float:
    sums = [0.0]
    for size in changed:
        sums = [total + sign * size for total in sums for sign in (-1, 1)]
    return sum(abs(total) >= least for total in sums) / len(sums)


def _some_signs(changed: Sequence[float], least: float, seed: int) -> float:
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    total, count, hits = math.fsum(changed), len(changed), 0
    for _ in range(RESAMPLES):
        signs = chance.choices((False, True), k=count)
        minus = math.fsum(compress(changed, signs))
        hits += abs(total - 2 * minus) >= least
    # The observed signs are one of the patterns (Phipson & Smyth 2010).
    return (hits + 1) / (RESAMPLES + 1)
