"""Changes of one text, joined line by line."""

from hypothesis import given
from hypothesis import strategies as st

from llm_optimizers.strategies.text_merge import merge

LINES = st.lists(st.sampled_from("abcd"), max_size=6)


def test_additions_at_one_place_are_all_kept_in_order() -> None:
    found = merge("base", ["base\none", "base\ntwo", "base\none"])
    assert found.text == "base\none\ntwo"
    assert found.included == (0, 1, 2)


def test_changes_of_different_places_are_made_together() -> None:
    base = "one\ntwo\nthree\nfour"
    found = merge(base, ["ONE\ntwo\nthree\nfour", "one\ntwo\nthree\nFOUR"])
    assert found.text == "ONE\ntwo\nthree\nFOUR"
    inserted = merge(base, ["one\nnew\ntwo\nthree\nfour", "one\ntwo\nfour"])
    assert inserted.text == "one\nnew\ntwo\nfour"


def test_a_change_that_collides_is_left_out() -> None:
    found = merge("one\ntwo", ["1\ntwo", "uno\ntwo", "one\n2"])
    assert found.text == "1\n2"
    assert found.included == (0, 2)


@given(LINES, LINES)
def test_one_change_is_made_as_it_is(base: list[str], new: list[str]) -> None:
    found = merge("\n".join(base), ["\n".join(new)])
    assert found.included == (0,)
    assert found.text == "\n".join(new)


@given(LINES, LINES, LINES)
def test_changes_without_collision_do_not_depend_on_their_order(
    base: list[str], one: list[str], other: list[str]
) -> None:
    texts = ["\n".join(each) for each in (one, other)]
    first = merge("\n".join(base), texts)
    second = merge("\n".join(base), texts[::-1])
    assert (len(first.included) == 2) == (len(second.included) == 2)
    if len(first.included) == 2:
        assert set(first.text) == set(second.text)
