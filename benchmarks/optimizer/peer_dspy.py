"""Runs DSPy's few-shot search; needs dspy, which only its venv has.

Reads a `Search` as JSON from stdin, writes a `Found` to stdout.
"""

import contextlib
import dataclasses
import json
import sys
import threading
import time
from typing import Any

import dspy

from benchmarks.optimizer.labelled_text import (
    Found,
    Search,
    Step,
    shown,
    system_text,
    user_text,
)


class PlainAdapter(dspy.Adapter):  # type: ignore[misc]
    """Writes prompts as Metasync does, for a model that continues text.

    DSPy's own adapters write headings and field markers for models that
    follow instructions: this one does not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self._lock = threading.Lock()

    def format(
        self, signature: Any, demos: list[Any], inputs: dict[str, Any]
    ) -> list[dict[str, Any]]:
        with self._lock:
            self.calls += 1
        system = written(signature.instructions, demos)
        return [
            {"role": "system", "content": system},
            {"role": "user", "content": user_text(inputs["text"])},
        ]

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        return {"label": str(json.loads(completion)["label"])}


def written(instruction: str, demos: list[Any]) -> str:
    """Give the text of a prompt with worked examples."""
    return system_text(
        instruction, [shown(each["text"], each["label"]) for each in demos]
    )


def search(given: Search) -> Found:
    """Try candidate programs until the calls are spent.

    The last one is tried if more than half of it is within the calls.
    """
    adapter = PlainAdapter()
    lm = dspy.LM(
        f"openai/{given.model}",
        api_base=given.base_url,
        api_key="any",
        cache=False,
        temperature=0,
        max_tokens=given.most_tokens,
        response_format=given.response_format,
    )
    dspy.configure(lm=lm, adapter=adapter)
    signature = dspy.Signature("text -> label", given.instruction)
    student = dspy.Predict(signature)
    optimizer = dspy.BootstrapFewShotWithRandomSearch(
        metric=_is_right,
        num_threads=given.concurrency,
        num_candidate_programs=100,
    )
    train, validation = _examples(given.train), _examples(given.validation)
    began, steps, best = time.monotonic(), [], -1.0
    for number in range(-3, 100):
        if adapter.calls + len(validation) / 2 > given.calls:
            break
        program = optimizer.compile(
            student, trainset=train, valset=validation, restrict=[number]
        )
        score = program.candidate_programs[0]["score"] / 100
        if score > best:
            best = score
            text = written(given.instruction, program.demos)
            steps.append(Step(adapter.calls, score, text))
    return Found(adapter.calls, time.monotonic() - began, steps)


def _is_right(item: Any, answer: Any, trace: Any = None) -> bool:
    return bool(item.label == answer.label)


def _examples(items: list[list[str]]) -> list[Any]:
    return [
        dspy.Example(text=text, label=label).with_inputs("text")
        for text, label in items
    ]


def main() -> None:
    """Search, and print what was found."""
    given = Search(**json.load(sys.stdin))
    with contextlib.redirect_stdout(sys.stderr):
        found = search(given)
    print(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main()
