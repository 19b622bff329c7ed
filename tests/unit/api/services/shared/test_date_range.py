from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.errors import RuleError
from api.services.shared.date_range import read_range


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        (
            "2026-01-31",
            "2026-01-31",
            "2026-01-31T00:00:00+00:00",
            "2026-01-31T23:59:59.999+00:00",
        ),
        (
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31T12:00:00+00:00",
        ),
        (
            "2026-01-31T12:00:00+02:00",
            # As a query string delivers the plus sign.
            "2026-01-31T12:00:00 02:00",
            "2026-01-31T10:00:00+00:00",
            "2026-01-31T10:00:00+00:00",
        ),
    ],
)
def test_both_ends_belong_to_the_range(
    start: str, end: str, first: str, last: str
) -> None:
    query = read_range(start, end).to_query()
    assert query == {"$gte": ms(first), "$lte": ms(last)}


def test_an_open_end_is_no_condition() -> None:
    assert read_range(None, None).to_query() == {}
    assert set(read_range("2026-01-01", None).to_query()) == {"$gte"}
    assert set(read_range(None, "2026-01-01").to_query()) == {"$lte"}


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize(
    "text", ["", "x", "2026-02-30", "0001-01-01T00:00:00+23:59", "-1"]
)
def test_a_bad_date_is_named(name: str, text: str) -> None:
    given = {"from": (text, None), "to": (None, text)}[name]
    with pytest.raises(RuleError, match=f"^{name} must be"):
        read_range(*given)


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    try:
        read_range(text, text).to_query()
    except RuleError:
        return


@given(
    st.datetimes(
        min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis wants it
        timezones=st.just(UTC),
    )
)
def test_a_moment_lies_in_the_range_of_itself(moment: datetime) -> None:
    moment -= timedelta(microseconds=moment.microsecond % 1000)
    query = read_range(moment.isoformat(), moment.isoformat()).to_query()
    assert query["$gte"] == query["$lte"] == ms(moment.isoformat())
