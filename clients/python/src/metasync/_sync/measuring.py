# Made from `_async` by `make client`; not to be edited.
"""Datasets, evaluations, runs, streams."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metasync._sync import _io
from metasync._sync.resources import Resource
from metasync.errors import StreamFailedError, WaitTimeoutError
from metasync.models import (
    Dataset,
    DatasetItem,
    Evaluation,
    EvaluationItem,
    Run,
    RunCandidate,
    Stream,
    StreamSummary,
)
from metasync.requests import Request, camel

_WAIT_SECONDS = 25.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
# How a stream that fails midway ends.
_BROKEN, _BROKEN_END = "[Error:", "]"
_LONGEST_END = 10_000


class Datasets(Resource):
    """`client.datasets`."""

    def create(self, name: str, items: Sequence[Mapping[str, Any]]) -> Dataset:
        """Keep examples: `request_data`, and perhaps `expected` and `id`."""
        body = {"name": name, "items": [camel(each) for each in items]}
        request = Request("POST", "/datasets", json=body)
        return self._transport.ask(Dataset, request)

    def upload(
        self, name: str, content: bytes, media_type: str, **columns: str
    ) -> Dataset:
        """Send a file: `text/csv`, `application/jsonl`, or Parquet's type.

        `columns` are `input_columns`, `expected_column`, `id_column`.
        """
        request = Request(
            "POST",
            "/datasets",
            {"name": name, **camel(columns)},
            content=content,
            headers={"content-type": media_type},
        )
        return self._transport.ask(Dataset, request)

    def list(
        self, *, name: str | None = None, limit: int | None = None
    ) -> Iterator[Dataset]:
        """Go through the datasets."""
        path = "/datasets"
        return self._transport.pages(Dataset, path, most=limit, name=name)

    def get(self, dataset_id: str) -> Dataset:
        """Return a dataset."""
        return self._transport.get(Dataset, f"/datasets/{dataset_id}")

    def items(
        self, dataset_id: str, *, limit: int | None = None, **split: Any
    ) -> Iterator[DatasetItem]:
        """Go through the examples, of all or of one `split`."""
        path = f"/datasets/{dataset_id}/items"
        query = camel(split)
        return self._transport.pages(DatasetItem, path, most=limit, **query)

    def delete(self, dataset_id: str) -> None:
        """Delete a dataset."""
        path = f"/datasets/{dataset_id}"
        self._transport.send(Request("DELETE", path))


class Evaluations(Resource):
    """`client.evaluations`."""

    def create(
        self,
        *,
        dataset_id: str,
        prompt_ids: Sequence[str],
        models: Sequence[str],
        metric: Any,
        **fields: Any,
    ) -> Evaluation:
        """Measure prompts and models on a dataset; it begins at once."""
        body = {
            "dataset_id": dataset_id,
            "prompt_ids": list(prompt_ids),
            "models": list(models),
            "metric": metric,
            **fields,
        }
        request = Request("POST", "/evaluations", json=camel(body))
        return self._transport.ask(Evaluation, request)

    def list(
        self, *, status: str | None = None, limit: int | None = None
    ) -> Iterator[Evaluation]:
        """Go through the evaluations."""
        path = "/evaluations"
        return self._transport.pages(
            Evaluation, path, most=limit, status=status
        )

    def get(self, evaluation_id: str) -> Evaluation:
        """Return an evaluation with its results so far."""
        path = f"/evaluations/{evaluation_id}"
        return self._transport.get(Evaluation, path)

    def wait(
        self, evaluation_id: str, *, timeout: float | None = None
    ) -> Evaluation:
        """Return it when it has ended; the server says when.

        Raises:
            WaitTimeoutError: it has not ended in time.
        """
        last = None if timeout is None else time.monotonic() + timeout
        path = f"/evaluations/{evaluation_id}"
        while True:
            seconds = _left(last, _WAIT_SECONDS)
            query = {"wait": seconds}
            request = Request("GET", path, query, seconds=seconds)
            found = self._transport.ask(Evaluation, request)
            if found.has_ended:
                return found
            _check_time(last, f"Evaluation {evaluation_id}")

    def items(
        self,
        evaluation_id: str,
        *,
        prompt_id: str,
        model: str,
        limit: int | None = None,
    ) -> Iterator[EvaluationItem]:
        """Go through how each example was answered."""
        return self._transport.pages(
            EvaluationItem,
            f"/evaluations/{evaluation_id}/items",
            most=limit,
            promptId=prompt_id,
            model=model,
        )

    def cancel(self, evaluation_id: str) -> Evaluation:
        """End it; what was answered is kept."""
        path = f"/evaluations/{evaluation_id}/cancel"
        request = Request("POST", path, repeatable=True)
        return self._transport.ask(Evaluation, request)


class Runs(Resource):
    """`client.runs`."""

    def create(self, **fields: Any) -> Run:
        """Begin a search for a better prompt, as `POST /runs` says."""
        request = Request("POST", "/runs", json=camel(fields))
        return self._transport.ask(Run, request)

    def list(
        self, *, status: str | None = None, limit: int | None = None
    ) -> Iterator[Run]:
        """Go through the runs."""
        return self._transport.pages(Run, "/runs", most=limit, status=status)

    def get(self, run_id: str) -> Run:
        """Return a run."""
        return self._transport.get(Run, f"/runs/{run_id}")

    def wait(self, run_id: str, *, timeout: float | None = None) -> Run:
        """Return it when it has ended, or is paused.

        A run takes minutes: it is asked for ever more seldom.

        Raises:
            WaitTimeoutError: it has not ended in time.
        """
        last = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while True:
            run = self.get(run_id)
            if run.has_ended or run.status == "PAUSED":
                return run
            _check_time(last, f"Run {run_id}")
            _io.sleep(_left(last, pause))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def pause(self, run_id: str) -> Run:
        """Have a run wait."""
        return self._set(run_id, "pause")

    def resume(self, run_id: str) -> Run:
        """Have a run go on."""
        return self._set(run_id, "resume")

    def cancel(self, run_id: str) -> Run:
        """End a run."""
        return self._set(run_id, "cancel")

    def candidates(
        self, run_id: str, *, limit: int | None = None
    ) -> Iterator[RunCandidate]:
        """Go through the prompts that it has tried."""
        path = f"/runs/{run_id}/candidates"
        return self._transport.pages(RunCandidate, path, most=limit)

    def report(self, run_id: str) -> str:
        """Return the report, as HTML."""
        request = Request("GET", f"/runs/{run_id}/report")
        return (self._transport.send(request)).text

    def _set(self, run_id: str, what: str) -> Run:
        request = Request("PATCH", f"/runs/{run_id}/{what}")
        return self._transport.ask(Run, request)


class Streams(Resource):
    """`client.streams`."""

    def create(
        self, user_prompt: str, *, model: str, **fields: Any
    ) -> Iterator[str]:
        """Give the answer's text in pieces, as the model writes it.

        A stream that was begun is not repeated.

        Raises:
            StreamFailedError: it broke off.
        """
        body = camel({"user_prompt": user_prompt, "model": model, **fields})
        request = Request("POST", "/stream", json=body)
        with self._transport.stream(request) as response:
            stream_id = response.headers.get("X-Stream-Id", "")
            end = ""
            for text in response.iter_text():
                end = (end + text)[-_LONGEST_END:]
                yield text
        if _BROKEN in end and end.rstrip().endswith(_BROKEN_END):
            self._check(stream_id, end[end.rindex(_BROKEN) :])

    def get(self, stream_id: str) -> Stream:
        """Return a stream's record."""
        return self._transport.get(Stream, f"/stream/{stream_id}")

    def list(
        self,
        *,
        model: str | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Stream]:
        """Go through the records of streams."""
        return self._transport.pages(
            Stream, "/stream", most=limit, model=model, status=status
        )

    def summary(self, *, model: str | None = None) -> StreamSummary:
        """Count streams, and sum what they cost."""
        path = "/stream/summary"
        return self._transport.get(StreamSummary, path, model=model)

    def _check(self, stream_id: str, message: str) -> None:
        # The answer itself may have such words at its end.
        if (self.get(stream_id)).status == "error":
            raise StreamFailedError(stream_id, message)


def _left(last: float | None, most: float) -> float:
    if last is None:
        return most
    return max(0.0, min(most, last - time.monotonic()))


def _check_time(last: float | None, what: str) -> None:
    if last is not None and time.monotonic() >= last:
        raise WaitTimeoutError(f"{what} has not ended in time")
