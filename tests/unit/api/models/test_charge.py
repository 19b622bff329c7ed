"""Charges: added up with their like only, and kept as they are."""

from hypothesis import given
from hypothesis import strategies as st

from api.models.charge import (
    Bill,
    Charge,
    Charged,
    dump_charged,
    load_charged,
)

names = st.sampled_from(["", "a", "b"])
charges = st.builds(
    Charge,
    st.sampled_from(["m", "n"]),
    st.sampled_from(["", "USD"]),
    *[st.integers(0, 10**15)] * 7,
    names,
    names,
)


@given(st.lists(charges, max_size=6), st.sampled_from([{}, {"budget": 7}]))
def test_what_is_kept_is_read_again(
    some: list[Charge], spent: dict[str, int]
) -> None:
    new = Charged("attempt", "block", None, tuple(some), "here", spent)
    text = dump_charged(dump_charged(None, new), new)
    first, second = load_charged(text)
    assert first == second
    assert first.charges == new.charges


def test_rows_of_earlier_versions_are_read() -> None:
    text = '[["a","b",null,[["m","USD",1,2,0,0,3,0,4]]]]'
    (charged,) = load_charged(text)
    assert charged.charges == (Charge("m", "USD", 1, 2, 0, 0, 3, 0, 4),)


@given(st.lists(charges, max_size=20))
def test_a_bill_adds_up_what_is_for_the_same(some: list[Charge]) -> None:
    bill = Bill()
    for each in some:
        bill.add(each)
    whats = [each.what for each in bill.charges]
    assert len(set(whats)) == len(whats)
    for what, total in zip(whats, bill.charges, strict=True):
        same = [each.counts for each in some if each.what == what]
        assert total.counts == tuple(map(sum, zip(*same, strict=True)))
