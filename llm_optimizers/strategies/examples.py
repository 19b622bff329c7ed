"""Worked examples: training items as a text behind the instruction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_optimizers.strategies.protocol import Item
from utilities import payload

_HEAD = "Examples of inputs and their right answers:"


@dataclass(frozen=True, slots=True)
class Example:
    """An input and the answer that it should get."""

    item_id: str
    text: str


def example(item: Item, answer: Any) -> Example:  # noqa: ANN401 - JSON is any of six types
    """Show an item as the model sees and answers it."""
    request = payload.dump(dict(item.request_data))
    return Example(item.item_id, f"{request}\n{_as_text(answer)}")


def joined(examples: list[Example]) -> str:
    """Write examples as the text that follows the instruction."""
    return "\n\n".join([_HEAD, *(each.text for each in examples)])


def _as_text(answer: Any) -> str:  # noqa: ANN401 - JSON is any of six types
    # The answer of a job with `responseFormat: text` is `{"text": ...}`.
    if isinstance(answer, Mapping) and list(answer) == ["text"]:
        answer = answer["text"]
    return answer if isinstance(answer, str) else payload.dump(answer)
