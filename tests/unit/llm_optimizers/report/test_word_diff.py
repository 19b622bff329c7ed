from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llm_optimizers.report.word_diff import Change, Piece, word_diff

TEXTS = st.text("ab \n.", max_size=60)


def without(pieces: list[Piece], change: Change) -> str:
    return "".join(each.text for each in pieces if each.change != change)


@given(TEXTS, TEXTS)
def test_both_texts_can_be_read(first: str, second: str) -> None:
    pieces = word_diff(first, second)
    assert without(pieces, Change.ADDED) == first
    assert without(pieces, Change.REMOVED) == second
    changes = [each.change for each in pieces]
    assert all(a != b for a, b in pairwise(changes))


def test_words_are_compared_within_lines() -> None:
    assert word_diff("Say yes or no.\nNow.", "Say no or maybe.\nNow.") == [
        Piece(Change.SAME, "Say "),
        Piece(Change.REMOVED, "yes"),
        Piece(Change.ADDED, "no"),
        Piece(Change.SAME, " or "),
        Piece(Change.REMOVED, "no"),
        Piece(Change.ADDED, "maybe"),
        Piece(Change.SAME, ".\nNow."),
    ]


def test_words_that_follow_each_other_are_one_change() -> None:
    assert word_diff("is it red or not?", "is it very blue or not?") == [
        Piece(Change.SAME, "is it "),
        Piece(Change.REMOVED, "red"),
        Piece(Change.ADDED, "very blue"),
        Piece(Change.SAME, " or not?"),
    ]


def test_lines_that_follow_are_added() -> None:
    assert word_diff("One.", "One.\nTwo.") == [
        Piece(Change.SAME, "One."),
        Piece(Change.ADDED, "\nTwo."),
    ]


def test_another_text_is_shown_whole() -> None:
    first, second = "an apple a day", "quite different words here"
    assert word_diff(first, second) == [
        Piece(Change.REMOVED, first),
        Piece(Change.ADDED, second),
    ]


def test_long_texts_take_no_long_time() -> None:
    line, lines = "a b " * 5_000, "a\nb\n" * 20_000
    assert len(word_diff(line, f"c {line}")) == 2
    assert len(word_diff(lines, f"c\n{lines}")) == 2
