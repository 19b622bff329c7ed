"""Training text in an instruction is found; the task's own words are not."""

import pytest

from llm_optimizers.strategies.copied_text import CopiedText
from llm_optimizers.strategies.protocol import Item

LONG = (
    "The parcel came two days late, and the lid of the box was broken when "
    "I opened it in front of the driver."
)
SHORT = "Never again, not for free!"


def item(number: int, text: str, expected: object = None) -> Item:
    return Item(f"i{number}", {"mail": {"lines": [text]}}, expected)


@pytest.fixture
def copied() -> CopiedText:
    items = [
        item(1, LONG, "complaint_about_a_late_delivery_of_a_parcel_by_post"),
        item(
            2, "Fine.", "complaint_about_a_late_delivery_of_a_parcel_by_post"
        ),
        item(3, SHORT),
        item(4, "Answer in one word, and in lower case letters only, please."),
    ]
    allowed = ["Answer in one word, and in lower case letters only, please."]
    return CopiedText(items, allowed)


@pytest.mark.parametrize(
    "prompt",
    [
        f"Say complaint if you read: {LONG}",
        # Spaces and capitals do not hide it, nor does a missing part.
        LONG.upper().replace(" ", "\n  ")[10:],
        f'Example: "{SHORT}" is bad.',
    ],
)
def test_long_pieces_are_found(copied: CopiedText, prompt: str) -> None:
    assert copied.in_text(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "A late parcel, or a broken lid, is a complaint.",
        # A label that several items share.
        "complaint_about_a_late_delivery_of_a_parcel_by_post",
        # What the first prompt says already.
        "Answer in one word, and in lower case letters only, please.",
        "Fine.",
        "",
    ],
)
def test_words_of_the_task_are_free(copied: CopiedText, prompt: str) -> None:
    assert not copied.in_text(prompt)


def test_what_nobody_was_shown_is_not_looked_for() -> None:
    words = " ".join(str(number) for number in range(20_000, 21_000))
    copied = CopiedText([item(1, words)])
    assert copied.in_text(words[100:200])
    assert not copied.in_text(words[-200:-100])
    assert len(copied._pieces) < 2_000 / 24
