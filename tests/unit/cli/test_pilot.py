import io
from typing import Any

import pytest
from rich.console import Console

from cli import pilot
from cli.cost_interval import Interval
from cli.input_file import Item
from cli.pilot import PilotResult

Row = dict[str, Any]
ITEMS = [Item(n, f"key-{n}", None, None, {"n": n}, 9) for n in range(1, 501)]


def row(number: int, cost: float | None = 0.01, **changes: Any) -> Row:
    metrics = {"totalCost": cost, "currency": "USD", "duration": 2.0}
    return {
        "key": f"key-{number}",
        "line": number,
        "status": "PROCESSED",
        "response": {"answer": number},
        "metrics": metrics,
        **changes,
    }


def result(**changes: Any) -> PilotResult:
    fields = {
        "answered": 50,
        "failed": 0,
        "spent": 1.0,
        "currency": "USD",
        "rest": 100,
        "cost": Interval(2.0, 1.5, 3.0),
        "seconds": Interval(9, 8, 10),
        **changes,
    }
    return PilotResult(**fields)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def goes_on(found: PilotResult, **options: Any) -> tuple[bool, str]:
    console = quiet()
    options = {"is_agreed": False, "max_cost": None, **options}
    answer = pilot.goes_on(found, console, **options)
    assert isinstance(console.file, io.StringIO)
    return answer, console.file.getvalue()


def test_a_sample_is_the_same_for_the_same_seed_and_in_order() -> None:
    one, again = (pilot.sample_of(ITEMS, 50, "a") for _ in range(2))
    assert one == again
    assert [each.line for each in one] == sorted(each.line for each in one)
    assert one != pilot.sample_of(ITEMS, 50, "b")
    assert len({each.key for each in one}) == 50
    # From everywhere, not the first rows.
    assert max(each.line for each in one) > 400


def test_no_more_than_there_are() -> None:
    assert pilot.sample_of(ITEMS[:3], 50, "a") == ITEMS[:3]


def test_the_rest_is_priced_and_timed() -> None:
    rows = [row(n) for n in range(49)]
    found = pilot.judge(rows, 1000, concurrency=10)
    assert found.cost is not None
    assert found.seconds is not None
    assert found.spent == pytest.approx(0.49)
    assert found.cost.estimate == pytest.approx(10)
    assert found.seconds.estimate == pytest.approx(2.0 * 1000 / 10)
    assert found.most == pytest.approx(10.49)


def test_failed_rows_cost_as_well() -> None:
    rows = [row(1), row(2, status="ERROR_PROCESSING", error={})]
    found = pilot.judge(rows, 10, concurrency=1)
    assert (found.answered, found.failed) == (1, 1)
    assert found.spent == pytest.approx(0.02)


def test_without_a_price_there_is_no_cost() -> None:
    none = {"totalCost": None, "currency": None, "duration": 1.0}
    rows = [row(n, metrics=none) for n in (1, 2)]
    found = pilot.judge(rows, 9, concurrency=1)
    assert found.cost is None
    assert found.most is None
    assert found.seconds is not None


def test_what_was_agreed_goes_on() -> None:
    assert goes_on(result(), is_agreed=True)[0]
    assert goes_on(result(rest=0))[0]


def test_without_a_terminal_it_stops_and_says_how_to_go_on() -> None:
    answer, told = goes_on(result())
    assert not answer
    assert "--yes" in told


def test_the_upper_end_decides_about_max_cost() -> None:
    assert goes_on(result(), max_cost=4.0)[0]
    answer, told = goes_on(result(), max_cost=3.9)
    assert not answer
    assert "4.00 USD" in told


def test_what_is_shown_cannot_steer_the_terminal() -> None:
    console = quiet()
    rows = [row(1, response={"answer": "\x1b[2J[bold]"})]
    rows += [row(2, status="ERROR_PROCESSING", error={"message": "why [x]"})]
    by_key = {each.key: each for each in ITEMS}
    pilot.show(result(), rows, by_key, console)
    assert isinstance(console.file, io.StringIO)
    told = console.file.getvalue()
    assert "\x1b[2J" not in told
    assert "[bold]" in told
    assert "why [x]" in told
    assert "2.00 USD" in told
