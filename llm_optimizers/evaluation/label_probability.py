"""The probability that a model gave to a label, by its tokens' alternatives.

Labels are told apart by the first character in which they differ: by the
token of the answer that holds this character of the answered label, and the
alternatives that the provider tells of that token. An alternative counts for
the labels that may go on so; for several, in equal parts. What is left for
other words is not counted: the labels' probabilities add up to 1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    chances: Mapping[str, float]

    @classmethod
    def of(cls, row: Sequence[Any]) -> Self:
        """Read a row of a job's `responseLogprobs`."""
        token, own, others = row
        # The token itself need not be among its alternatives.
        chances = {str(other): float(chance) for other, chance in others}
        return cls(str(token), {**chances, str(token): float(own)})


def label_chances(
    rows: Sequence[Any], answered: str, labels: Sequence[str]
) -> dict[str, float] | None:
    """Return each label's probability; None if it cannot be told.

    `rows` are a job's `responseLogprobs`, `answered` is the label in its
    answer. Letter case does not count.
    """
    tokens = [_Token.of(row) for row in rows]
    text = "".join(token.text for token in tokens).casefold()
    folded = [label.casefold() for label in labels]
    start = _place_of(answered.casefold(), text)
    if start is None or len(set(folded)) < len(folded):
        return None
    place = start + _common_length(folded)
    ends = list(accumulate(len(token.text.casefold()) for token in tokens))
    position = next((i for i, end in enumerate(ends) if end > place), None)
    if position is None:
        return None
    begun = ends[position] - len(tokens[position].text.casefold())
    # Of the label, what the tokens before have said.
    said = text[start:begun] if begun > start else ""
    lead = text[begun:start] if begun < start else ""
    weights = _weights(tokens[position], lead, said, folded)
    total = sum(weights)
    if not total:
        return None
    return {
        label: weight / total
        for label, weight in zip(labels, weights, strict=True)
    }


def _common_length(labels: Sequence[str]) -> int:
    """Return how many characters all labels begin with."""
    columns = zip(*labels, strict=False)
    same = (len(set(column)) == 1 for column in columns)
    return sum(takewhile(bool, same))


def _place_of(label: str, text: str) -> int | None:
    """Return where the label stands: as a text of JSON, or otherwise last."""
    quoted = text.rfind(f'"{label}"')
    place = quoted + 1 if quoted >= 0 else text.rfind(label)
    return place if label and place >= 0 else None


def _weights(
    token: _Token, lead: str, said: str, labels: Sequence[str]
) -> list[float]:
    weights = [0.0] * len(labels)
    for other, chance in token.chances.items():
        folded = other.casefold()
        if not folded.startswith(lead):
            continue
        rest = said + folded.removeprefix(lead)
        meant = [i for i, label in enumerate(labels) if _may_be(rest, label)]
        for each in meant:
            weights[each] += math.exp(min(chance, 0.0)) / len(meant)
    return weights


def _may_be(rest: str, label: str) -> bool:
    """Tell whether a text that begins so may be the label."""
    if not rest:
        return False
    if label.startswith(rest):
        return True
    # Behind the label, only what ends a word or a text of JSON.
    return rest.startswith(label) and not rest[len(label)].isalnum()
