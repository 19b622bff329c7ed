"""Split items into train, validation and test, by content and a seed.

Items with equal inputs are always on one side: what is learnt from one
must not be tested with the other. A group's place is decided by a hash of
its content and the seed, so it depends neither on the order of the items
nor on their ids.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from pydantic_core import to_json

from api.models.dataset_models import SplitFractions, SplitName

DIGEST_BYTES = 8
_SIDES = (SplitName.TRAIN, SplitName.VALIDATION, SplitName.TEST)
_DEFAULT = SplitFractions()


@dataclass(frozen=True, slots=True)
class Split:
    """The positions of the items of each side, in ascending order."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    def of(self, name: SplitName) -> Sequence[int]:
        """Give the positions of one side, or of all."""
        if name is SplitName.ALL:
            return sorted((*self.train, *self.validation, *self.test))
        sides: Mapping[SplitName, tuple[int, ...]] = {
            SplitName.TRAIN: self.train,
            SplitName.VALIDATION: self.validation,
            SplitName.TEST: self.test,
        }
        return sides[name]


def content_digest(request_data: Mapping[str, Any]) -> bytes:
    """Give 8 bytes that equal inputs have in common.

    The order of an object's fields does not count.
    """
    text = to_json(_ordered(request_data))
    return hashlib.sha256(text).digest()[:DIGEST_BYTES]


def split(
    digests: Sequence[bytes],
    seed: int,
    fractions: SplitFractions = _DEFAULT,
) -> Split:
    """Put each item, given by its content's digest, on one side.

    The groups of equal items are put in an order that the seed decides,
    and the sides are cut from it: so their sizes are as near to the
    fractions as whole groups allow. A side with a fraction above 0 gets
    at least one group, if there are enough.
    """
    groups: dict[bytes, list[int]] = {}
    for position, digest in enumerate(digests):
        groups.setdefault(digest, []).append(position)
    order = sorted(groups, key=lambda digest: _place(digest, seed))
    sides: dict[SplitName, list[int]] = {side: [] for side in _SIDES}
    wanted = _wanted(fractions)
    # Rounded to the nearest: a half, down.
    ends = [end * len(digests) - 0.5 for end in accumulate(wanted.values())]
    empty, names, taken = list(wanted), list(wanted), 0
    for rank, digest in enumerate(order):
        side = names[bisect_right(ends, taken, hi=len(names) - 1)]
        # The last groups are for the sides that would stay empty.
        if side not in empty and len(order) - rank <= len(empty):
            side = empty[0]
        if side in empty:
            empty.remove(side)
        sides[side] += groups[digest]
        taken += len(groups[digest])
    return Split(*(tuple(sorted(sides[side])) for side in _SIDES))


def _place(digest: bytes, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:".encode() + digest).digest()


def _wanted(fractions: SplitFractions) -> dict[SplitName, float]:
    shares = (fractions.train, fractions.validation, fractions.test)
    pairs: Iterable[tuple[SplitName, float]] = zip(_SIDES, shares, strict=True)
    return {side: share for side, share in pairs if share > 0}


def _ordered(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_ordered(each) for each in value]
    return value
