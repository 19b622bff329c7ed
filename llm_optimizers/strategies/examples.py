"""Worked examples: training items as a text behind the instruction."""

from collections.abc import Mapping, Sequence
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


def in_form(expected: Any, answers: Sequence[Any]) -> Any:  # noqa: ANN401 - JSON is any of six types
    """Give what is expected in the form that right answers have.

    Models that answer JSON wrap a label as `{"label": "spam"}`; an example
    without it would teach them another form.
    """
    fields = {_form(each) for each in answers}
    if isinstance(expected, Mapping) or len(fields) != 1:
        return expected
    form = fields.pop()
    if isinstance(form, tuple) and len(form) == 1:
        return {form[0]: expected}
    return expected


def shows_all(expected: Sequence[Any], answers: Sequence[Any]) -> bool:
    """Tell whether the expected answers hold all that right answers do."""
    forms = {_form(each) for each in expected if each is not None}
    return None not in expected and all(_form(a) in forms for a in answers)


def _form(answer: Any) -> tuple[str, ...] | type:  # noqa: ANN401 - JSON is any of six types
    answer = _unwrapped(answer)
    return (
        tuple(sorted(answer)) if isinstance(answer, Mapping) else type(answer)
    )


def _unwrapped(answer: Any) -> Any:  # noqa: ANN401 - JSON is any of six types
    # The answer of a job with `responseFormat: text` is `{"text": ...}`.
    if isinstance(answer, Mapping) and list(answer) == ["text"]:
        return answer["text"]
    return answer


def _as_text(answer: Any) -> str:  # noqa: ANN401 - JSON is any of six types
    answer = _unwrapped(answer)
    return answer if isinstance(answer, str) else payload.dump(answer)
