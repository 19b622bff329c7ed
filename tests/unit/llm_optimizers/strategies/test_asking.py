"""What is asked, and how answers are read."""

import pytest

from llm_optimizers.strategies import asking


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, None),
        ("", None),
        ("  \n", None),
        ("Be brief.", "Be brief."),
        (
            "Sure!\n<prompt>\nBe brief.\n\nAlways.\n</prompt> Done.",
            "Be brief.\n\nAlways.",
        ),
        ("<prompt>one</prompt> no: <prompt>two</prompt>", "two"),
        ("<prompt> \n</prompt>", None),
        ("```text\nBe brief.\n```", "Be brief."),
        ("Use ```code``` blocks.", "Use ```code``` blocks."),
    ],
)
def test_the_prompt_is_taken_out_of_an_answer(
    answer: str | None, text: str | None
) -> None:
    assert asking.new_text(answer) == text
