"""Which rows are where: for every order in which things happen."""

from hypothesis import given, settings
from hypothesis import strategies as st

from metasync.results import Result
from metasync.window import Entry, Window
from tests.support.examples import examples


def entry(index: int) -> Entry:
    return Entry(index, {"n": index}, {}, 10)


@settings(max_examples=examples(200))
@given(st.data())
def test_every_row_is_given_once_and_never_too_many_are_open(
    data: st.DataObject,
) -> None:
    size = data.draw(st.integers(1, 6), "size")
    count = data.draw(st.integers(0, 25), "rows")
    ordered = data.draw(st.booleans(), "ordered")
    # Rows with the same job, and rows that are refused at once.
    jobs = data.draw(
        st.lists(st.integers(0, 8), min_size=count, max_size=count), "jobs"
    )
    window: Window[None] = Window(size, ordered)
    given_out: list[int] = []
    taken = 0
    while len(given_out) < count:
        while window.room and taken < count:
            index = window.take()
            assert index == taken
            taken += 1
            if jobs[index] == 0:
                window.add([Result(index, None)])
            else:
                window.submitted(str(jobs[index]), entry(index))
        assert len(window.open_ids) <= size
        given_out += [result.index for result in window.ready()]
        if window.open_ids:
            ended = data.draw(st.sampled_from(window.open_ids), "ends")
            window.add(
                Result(each.index, each.row) for each in window.ended(ended)
            )
        if ordered:
            assert taken - len(given_out) <= 2 * size
            assert given_out == sorted(given_out)
        given_out += [result.index for result in window.ready()]
    assert sorted(given_out) == list(range(count))
    assert not window.open_ids


def test_a_job_that_has_failed_is_remembered() -> None:
    window: Window[None] = Window(3)
    assert not window.has_failed("a")
    window.remember_failure("a")
    assert window.has_failed("a")
    assert window.ended("unknown") == []
