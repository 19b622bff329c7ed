import io
from typing import Any

import pytest
from rich.console import Console

from cli.demo_report import accuracy_table, answers_table
from cli.display import (
    BarDisplay,
    LineDisplay,
    failure_lines,
    progress_display,
    summary_table,
)
from cli.tally import Tally

BUSY = Tally(
    total=20_000,
    answered=12_345,
    failed=123,
    kept=345,
    input_tokens=1_234_567,
    output_tokens=34_567,
    cost=12.34567,
    currency="USD",
    seconds=60.0,
)


def console(*, terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=80,
        force_terminal=terminal,
        color_system=None,
    )


def shown(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def summary(**fields: Any) -> dict[str, str]:
    screen = console()
    screen.print(summary_table(Tally(**fields)))
    lines = [line.strip("│ ").split("│") for line in shown(screen).split("\n")]
    return {line[0].strip(): line[1].strip() for line in lines if line[1:]}


class TestSummary:
    def test_has_only_what_there_is_to_say(self) -> None:
        assert summary(total=2, answered=2, seconds=4.0) == {
            "Jobs": "2",
            "Answered": "2",
            "Failed": "0",
            "Tokens in / out": "0 / 0",
            "Rate": "0.5 jobs/s",
            "Time": "4.0 s",
        }

    def test_has_accuracy_cost_and_what_was_kept(self) -> None:
        figures = summary(
            total=4000,
            answered=3998,
            failed=2,
            kept=1000,
            labelled=2000,
            correct=1500,
            cost=0.12345,
            currency="EUR",
            seconds=10.0,
        )
        assert figures["Jobs"] == "4,000"
        assert figures["of an earlier run"] == "1,000"
        assert figures["Accuracy"] == "75.0%  (1,500 of 2,000)"
        assert figures["Cost"] == "0.1235 EUR"
        assert figures["Rate"] == "300.0 jobs/s"

    def test_of_a_run_that_had_nothing_to_do_has_no_rate(self) -> None:
        figures = summary(total=3, answered=3, kept=3)
        assert "Rate" not in figures
        assert "Time" not in figures


class TestFailures:
    @staticmethod
    def failure(
        line: int, message: str = "no", **fields: Any
    ) -> dict[str, Any]:
        error = {"errorType": "BAD_REQUEST", "message": message}
        return {"line": line, "id": None, "error": error, **fields}

    def test_are_named_in_order(self) -> None:
        rows = [self.failure(7), self.failure(2, id="r-2")]
        assert list(failure_lines(rows)) == [
            "line 2 (r-2): BAD_REQUEST: no",
            "line 7: BAD_REQUEST: no",
        ]

    def test_the_first_ten_of_many(self) -> None:
        lines = list(failure_lines([self.failure(n) for n in range(1, 1235)]))
        assert len(lines) == 11
        assert lines[-1].startswith("and 1,224 more")

    @pytest.mark.parametrize(("length", "ends"), [(160, "x"), (161, "…")])
    def test_long_messages_are_cut_visibly(
        self, length: int, ends: str
    ) -> None:
        (line,) = failure_lines([self.failure(1, "x" * length)])
        message = line.removeprefix("line 1: BAD_REQUEST: ")
        assert len(message) == 160
        assert message.endswith(ends)

    def test_without_details(self) -> None:
        (line,) = failure_lines([{"line": 1, "id": None, "error": None}])
        assert line.startswith("line 1: ")


class TestLive:
    def test_a_terminal_gets_a_bar_that_fits(self) -> None:
        screen = console(terminal=True)
        with progress_display(screen) as display:
            assert isinstance(display, BarDisplay)
            display.update(BUSY)
        lines = shown(screen).replace("\r", "\n").split("\n")
        last = [line for line in lines if "12468" in line][-1]
        for fact in (
            "12468/20000",
            "202.1/s",
            "123 failed",
            "1.27M tokens",
            "12.3457 USD",
            "left",
        ):
            assert fact in last
        assert "━━━" in last
        assert "…" not in last

    def test_a_log_gets_a_line_now_and_then(self) -> None:
        screen, seconds = console(), [0.0]
        display = LineDisplay(screen, lambda: seconds[0])
        for seconds[0] in (1.0, 9.9, 10.1, 11.0, 20.2):
            display.update(BUSY)
        lines = shown(screen).split("\n")[:-1]
        assert len(lines) == 2
        assert lines[0].startswith("12,468 of 20,000 · 202.1/s · 123 failed")

    def test_a_short_run_leaves_no_line_in_a_log(self) -> None:
        screen = console()
        with progress_display(screen) as display:
            display.update(Tally(total=3))
        assert shown(screen) == ""

    def test_before_the_first_answer(self) -> None:
        screen = console(terminal=True)
        with progress_display(screen) as display:
            display.update(Tally(total=3))
        assert "0/3" in shown(screen)

    @pytest.mark.parametrize(
        ("tokens", "words"),
        [(0, "0"), (999, "999"), (1000, "1k"), (45_678_901, "45.7M")],
    )
    def test_tokens_are_short(self, tokens: int, words: str) -> None:
        screen, now = console(), iter([0.0, 100.0, 100.0])
        display = LineDisplay(screen, lambda: next(now))
        display.update(Tally(total=1, input_tokens=tokens))
        assert f" {words} tokens" in shown(screen)


class TestTheDemosAnswers:
    @staticmethod
    def rows(
        right: int, wrong: int, response: object = "x"
    ) -> list[dict[str, Any]]:
        verdicts = [True] * right + [False] * wrong
        rows: list[dict[str, Any]] = [
            {
                "line": line,
                "status": "PROCESSED",
                "response": response,
                "label": "[red]",
                "correct": correct,
            }
            for line, correct in enumerate(verdicts, start=1)
        ]
        failure = {"line": 999, "status": "ERROR_PROCESSING"}
        return [failure, *rows]

    @staticmethod
    def shown(rows: list[dict[str, Any]], seed: int | None = None) -> str:
        texts = {row["line"]: f"text {row['line']}" for row in rows}
        screen = console()
        screen.print(answers_table(rows, texts, seed))
        assert max(map(len, shown(screen).split("\n"))) <= 80
        return shown(screen)

    def marks(self, rows: list[dict[str, Any]], seed: int = 1) -> str:
        return "".join(m for m in self.shown(rows, seed) if m in "✓✗")

    @pytest.mark.parametrize(
        ("right", "wrong", "count"), [(60, 4, 6), (2, 1, 3), (0, 0, 0)]
    )
    def test_six_or_all_if_there_are_fewer(
        self, right: int, wrong: int, count: int
    ) -> None:
        assert len(self.marks(self.rows(right, wrong))) == count

    def test_are_drawn_at_random_from_all(self) -> None:
        rows = self.rows(right=32, wrong=32)
        samples = [self.marks(rows, seed) for seed in range(200)]
        share = "".join(samples).count("✓") / (6 * len(samples))
        assert 0.4 < share < 0.6
        assert len(set(samples)) == 7

    def test_the_same_seed_draws_the_same_from_any_order(self) -> None:
        rows = self.rows(right=32, wrong=32)
        first = self.shown(rows, 7)
        assert self.shown(rows[::-1], 7) == first
        assert self.shown(rows, 8) != first
        assert "[red]" in first

    def test_long_answers_are_cut(self) -> None:
        rows = self.rows(1, 0, response="y" * 10_000)
        assert self.marks(rows) == "✓"

    def test_accuracy_is_counted_by_class(self) -> None:
        rows = [
            *self.rows(right=3, wrong=1),
            {**self.rows(0, 1)[1], "label": "other"},
        ]
        screen = console()
        screen.print(accuracy_table(rows))
        lines = [line.split() for line in shown(screen).split("\n")]
        figures = [[w for w in line if w != "│"] for line in lines]
        assert ["[red]", "3", "4", "75.0%"] in figures
        assert ["other", "0", "1", "0.0%"] in figures
