"""The jobs of `metasync run`, as they are sent."""

import hashlib
import re
from collections.abc import Iterator, Sequence

from cli.answers_options import WITHOUT_CACHE, CacheOptions
from cli.attachments import content_of, texts_of
from cli.errors import CommandError
from cli.input_file import Item, Question
from cli.rest_client import Json, ServerRefusedError
from cli.setup import OPERATION
from utilities import payload

_BLOCK = 500
# Well below what a server takes in one request.
_BLOCK_BYTES = 8 * 1024 * 1024


class JobRequests:
    """Makes the jobs of one question.

    With a `salt`, they are those of one run: others have jobs of their own.
    """

    def __init__(
        self,
        question: Question,
        prompt_id: str,
        cache: CacheOptions = WITHOUT_CACHE,
        salt: str = "",
    ) -> None:
        self._question = question
        self._prompt_id = prompt_id
        self._cache = cache
        # By it, the server need not look at the jobs of other runs.
        self._batch = {"batchKey": f"run-{salt}"} if salt else {}
        parts = payload.dump(question.parts)
        # Runs that ask the same question have the same.
        self.run_id = hashlib.sha256(parts.encode()).hexdigest()[:16]

    @property
    def listed_by(self) -> dict[str, str]:
        """The query by which the server lists the jobs."""
        return self._batch or {"clientReference.run": self.run_id}

    @property
    def filter(self) -> Json:
        """The same, as the filter of a request."""
        return self._batch or {"clientReference": {"run": self.run_id}}

    def job(self, item: Item, key_number: int) -> Json:
        """Make an item's job; `key_number` tells its keys apart."""
        job = {
            "id": item.own_id,
            **self.asked(item),
            # Not the line's number: the same line may stand elsewhere in
            # the file of a later run, and is still the same request.
            "clientReference": {"run": self.run_id},
            **self._batch,
        }
        return job | {"idempotencyKey": _key(item, key_number, job)}

    def asked(self, item: Item) -> Json:
        """Give a line's job, without what only names it."""
        return {
            "operation": OPERATION,
            **(
                {"workingPrompts": [self._prompt_id]}
                if self._prompt_id
                else {}
            ),
            "model": self._question.model,
            "temperature": self._question.temperature,
            **self._question.form,
            **self._of_line(item),
            **self._cache.fields(item.sample),
        }

    def _of_line(self, item: Item) -> Json:
        """Give what a line asks: the one place where it becomes a job's."""
        question = self._question
        if not question.is_template:
            return {"requestData": item.request_data}
        files = texts_of(item.attachments)
        asked: Json = {"variables": {**item.request_data, **files}}
        if question.message is not None:
            content = content_of(question.message, item.attachments)
            asked["messages"] = [{"role": "user", "content": content}]
        return asked


def blocks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Divide items into what one request takes."""
    block: list[Item] = []
    size = 0
    for item in items:
        full = len(block) == _BLOCK or size + item.size > _BLOCK_BYTES
        if block and full:
            yield block
            block, size = [], 0
        block.append(item)
        size += item.size
    if block:
        yield block


def in_lines(error: ServerRefusedError, block: Sequence[Item]) -> CommandError:
    """Name the line where the server names the item of a batch."""

    def line(match: re.Match[str]) -> str:
        return f"line {block[int(match[1])].line}"

    return CommandError(re.sub(r"batch item (\d+)", line, str(error)))


def _key(item: Item, key_number: int, job: Json) -> str:
    """Make the key of a request; another request has another one."""
    suffix = f"/{key_number}" if key_number > 1 else ""
    digest = hashlib.sha256(payload.dump(job).encode()).hexdigest()[:16]
    return f"{item.key}{suffix}.{digest}"
