"""Splits: complete, by content, and as large as asked for."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.models.dataset_models import SplitFractions, SplitName
from api.services.datasets.split import content_digest, split
from tests.support.samples import json_objects

digests = st.lists(
    st.integers(0, 30).map(lambda n: content_digest({"n": n})), max_size=60
)


@given(digests, st.integers())
def test_every_item_is_on_one_side_with_its_equals(
    given_digests: list[bytes], seed: int
) -> None:
    found = split(given_digests, seed)
    sides = (found.train, found.validation, found.test)
    positions = sorted(place for side in sides for place in side)
    assert positions == list(range(len(given_digests)))
    assert found.of(SplitName.ALL) == positions
    contents = [{given_digests[place] for place in side} for side in sides]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not contents[first] & contents[second]
    if len(set(given_digests)) >= 3:
        assert all(sides)


@given(digests, st.randoms(use_true_random=False))
def test_the_order_of_the_items_does_not_count(
    given_digests: list[bytes], chance: Any
) -> None:
    shuffled = list(given_digests)
    chance.shuffle(shuffled)
    one, other = split(given_digests, 1), split(shuffled, 1)
    assert {given_digests[place] for place in one.test} == {
        shuffled[place] for place in other.test
    }


def test_sizes_and_seeds() -> None:
    many = [content_digest({"n": n}) for n in range(1000)]
    found = split(many, 0)
    assert len(found.train) == 500
    assert len(found.validation) == len(found.test) == 250
    assert split(many, 0) == found != split(many, 1)
    two = SplitFractions(train=0, validation=0.1, test=0.9)
    found = split(many, 0, two)
    assert (len(found.train), len(found.validation)) == (0, 100)


@given(json_objects)
def test_a_digest_does_not_know_the_order_of_fields(
    value: dict[str, Any],
) -> None:
    turned = dict(reversed(list(value.items())))
    assert content_digest(value) == content_digest(turned)
