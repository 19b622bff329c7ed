"""Values of answers: compared, and read as texts and numbers."""

import re
import string
from collections import Counter
from typing import Any

from pydantic_core import to_json

from utilities.json_path import NoValueError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# What a text answer is stored in.
_TEXT_FIELD = "text"


def plain(answer: Any, expected: Any) -> Any:  # noqa: ANN401 - JSON
    """Give what of an answer is compared with what is expected.

    Where an object is not expected, an object's only field stands for it:
    models that answer JSON wrap a label as `{"label": "spam"}`.
    """
    if isinstance(answer, dict) and not isinstance(expected, dict):
        return next(iter(answer.values())) if len(answer) == 1 else answer
    return answer


def text_of(value: Any) -> str:  # noqa: ANN401 - JSON
    """Give a value as text; what is no text, as JSON."""
    if isinstance(value, dict) and set(value) == {_TEXT_FIELD}:
        value = value[_TEXT_FIELD]
    return value if isinstance(value, str) else to_json(value).decode()


def equal(one: Any, other: Any, *, ignore_case: bool = False) -> bool:  # noqa: ANN401 - JSON
    """Tell whether two JSON values are the same.

    Spaces at the ends of texts do not count; 1 and 1.0 are the same, 1
    and true are not. Texts are the same as the numbers and truth values
    that they spell.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            equal(one[key], other[key], ignore_case=ignore_case) for key in one
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            equal(a, b, ignore_case=ignore_case)
            for a, b in zip(one, other, strict=True)
        )
    return _equal_scalars(one, other, ignore_case=ignore_case)


def _equal_scalars(one: Any, other: Any, *, ignore_case: bool) -> bool:  # noqa: ANN401 - JSON
    if isinstance(one, str) or isinstance(other, str):
        if isinstance(one, dict | list) or isinstance(other, dict | list):
            return False
        first, second = text_of(one).strip(), text_of(other).strip()
        if ignore_case:
            return first.casefold() == second.casefold()
        return first == second
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def number_of(value: Any) -> float:  # noqa: ANN401 - JSON
    """Read a number, also one that is written as a text.

    Raises:
        NoValueError: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value)
    if isinstance(value, str):
        try:
            return _finite(float(value.strip().replace(",", "")))
        except ValueError:
            pass
    raise NoValueError(f"{shown(value)} is not a number")


def _finite(number: float) -> float:
    try:
        value = float(number)
    except OverflowError:
        raise NoValueError("the number is too large") from None
    if value - value != 0:
        raise NoValueError("the number is not finite")
    return value


def word_f1(one: str, other: str) -> float:
    """Give the F1 of the words that two texts have in common.

    After SQuAD's evaluation script (Rajpurkar et al. 2016).
    """
    first, second = _words(one), _words(other)
    if not first or not second:
        return float(first == second)
    common = sum((Counter(first) & Counter(second)).values())
    return 2 * common / (len(first) + len(second))


def _words(text: str) -> list[str]:
    plain_text = text.casefold().translate(_NO_PUNCTUATION)
    return _ARTICLES.sub(" ", plain_text).split()


def shown(value: Any, longest: int = 200) -> str:  # noqa: ANN401 - JSON
    """Give a value as it is shown in a message."""
    text = to_json(value, inf_nan_mode="constants").decode()
    return text if len(text) <= longest else text[: longest - 3] + "..."
