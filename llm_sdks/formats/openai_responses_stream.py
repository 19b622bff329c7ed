"""Writes the events of one response of OpenAI's Responses."""

from typing import ClassVar

from llm_sdks.answers import (
    Begun,
    Content,
    Ended,
    Event,
    LogprobsSeen,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallBegun,
    ToolCallDelta,
    UsageSeen,
)
from llm_sdks.formats.api import Head, Json, Problem, server_sent
from llm_sdks.formats.openai_errors import write_error
from llm_sdks.formats.openai_responses_output import (
    Item,
    incomplete_reason,
    logprob_of,
    response_of,
)
from llm_sdks.usage import Usage

_PREFIXES = {
    "text": "msg",
    "refusal": "msg",
    "reasoning": "rs",
    "function_call": "fc",
}


class StreamWriter:
    """Writes one stream; items follow one another."""

    # By kind of item: the events of its text.
    _texts: ClassVar[dict[str, str]] = {
        "text": "output_text",
        "refusal": "refusal",
        "reasoning": "reasoning_summary_text",
        "function_call": "function_call_arguments",
    }

    def __init__(self, head: Head) -> None:
        self._head = head
        self._number = 0
        self._items: list[Item] = []
        self._open: Item | None = None
        self._calls: dict[int, Item] = {}
        self._usage = Usage()
        self._ended: Ended | None = None

    def write(self, event: Event) -> bytes:
        """Write an event; empty where the format says nothing of it."""
        match event:
            case Begun():
                return self._start()
            case LogprobsSeen():
                self._keep(event)
            case UsageSeen():
                self._usage = event.usage
            case Ended():
                return self._finish(event)
            case _:
                return self._say(event)
        return b""

    def fail(self, problem: Problem) -> bytes:
        """Write that the stream ends here without the rest."""
        body = write_error(problem)
        details = {**body["error"], "code": body["error"]["code"] or "error"}
        error = self._event("error", **details, **body)
        failed = response_of(self._head, "failed", self._output())
        failed["error"] = {
            "code": "server_error",
            "message": problem.message,
        }
        return error + self._event("response.failed", response=failed)

    def response(self) -> Json:
        """Give the response as far as it has come."""
        if self._ended is None:
            return response_of(self._head, "in_progress", self._output())
        reason = self._reason(self._ended)
        status = "completed" if reason is None else "incomplete"
        whole = response_of(self._head, status, self._output(), self._usage)
        if reason is not None:
            whole["incomplete_details"] = {"reason": reason}
        return whole

    def _reason(self, ended: Ended) -> str | None:
        refused = any(item.kind == "refusal" for item in self._items)
        return incomplete_reason(ended, refused=refused)

    def _output(self) -> list[Json]:
        return [item.json() for item in self._items]

    def _start(self) -> bytes:
        response = self.response()
        return self._event(
            "response.created", response=response
        ) + self._event("response.in_progress", response=response)

    def _finish(self, ended: Ended) -> bytes:
        closed = self._close()
        self._ended = ended
        response = self.response()
        name = f"response.{response['status']}"
        return closed + self._event(name, response=response)

    def _say(self, event: Content) -> bytes:
        match event:
            case TextDelta():
                return self._more("text", event.text)
            case RefusalDelta():
                return self._more("refusal", event.text)
            case ThinkingDelta():
                return self._more("reasoning", event.text)
            case ToolCallBegun():
                opened = self._begin("function_call", event)
                self._calls[event.index] = self._items[-1]
                return opened
            case ToolCallDelta():
                return self._add(self._calls[event.index], event.arguments)

    def _more(self, kind: str, text: str) -> bytes:
        if not text:
            return b""
        opened = b""
        if self._open is None or self._open.kind != kind:
            opened = self._begin(kind)
        return opened + self._add(self._items[-1], text)

    def _begin(self, kind: str, call: ToolCallBegun | None = None) -> bytes:
        closed = self._close()
        index = len(self._items)
        name = f"{_PREFIXES[kind]}_{self._head.id}{index:04x}"
        item = self._open = Item(kind, name, index, call=call)
        self._items.append(item)
        added = self._event(
            "response.output_item.added",
            output_index=index,
            item=item.json("in_progress"),
        )
        return closed + added + self._of_part(item, "added")

    def _add(self, item: Item, text: str) -> bytes:
        item.pieces.append(text)
        return self._of_text(item, "delta", delta=text)

    def _close(self) -> bytes:
        item, self._open = self._open, None
        if item is None:
            return b""
        return (
            self._of_text(item, "done", **_whole_text(item))
            + self._of_part(item, "done")
            + self._event(
                "response.output_item.done",
                output_index=item.index,
                item=item.json(),
            )
        )

    def _of_text(self, item: Item, what: str, **fields: object) -> bytes:
        if item.kind == "text":
            fields["logprobs"] = item.logprobs if what == "done" else []
        name = f"response.{self._texts[item.kind]}.{what}"
        return self._event(name, **_place(item), **fields)

    def _of_part(self, item: Item, what: str) -> bytes:
        if item.call is not None:
            return b""
        is_thought = item.kind == "reasoning"
        kind = "reasoning_summary_part" if is_thought else "content_part"
        return self._event(
            f"response.{kind}.{what}", **_place(item), part=item.part()
        )

    def _keep(self, event: LogprobsSeen) -> None:
        for item in reversed(self._items):
            if item.kind == "text":
                item.logprobs += [logprob_of(token) for token in event.tokens]
                return

    def _event(self, kind: str, **fields: object) -> bytes:
        number, self._number = self._number, self._number + 1
        # An error's own `type` gives way to the event's.
        body = {**fields, "type": kind, "sequence_number": number}
        return server_sent(body, kind)


def _place(item: Item) -> Json:
    place: Json = {"item_id": item.id, "output_index": item.index}
    if item.kind == "reasoning":
        place["summary_index"] = 0
    elif item.call is None:
        place["content_index"] = 0
    return place


def _whole_text(item: Item) -> Json:
    match item.kind:
        case "refusal":
            return {"refusal": item.text}
        case "function_call":
            return {"arguments": item.text}
        case _:
            return {"text": item.text}
