"""An earlier answer, and the fields of jobs by which it is found."""

from dataclasses import dataclass
from typing import Self

from utilities.cosmos_connector import Document

# The key, and the digest of the prompts' texts and the model when it was
# made: see `AnswerKeys`.
ANSWER_KEY, ANSWER_NAMED = "answerKey", "answerNamed"


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer, and the job that has it; both texts are JSON."""

    job_id: str
    response_json: str
    logprobs_json: str | None = None

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read the job that has it."""
        return cls(
            str(document["_id"]),
            document["responseData"],
            document.get("responseLogprobs"),
        )
