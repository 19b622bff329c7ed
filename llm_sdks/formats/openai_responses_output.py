"""What a response says of itself, and the items of its output."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_sdks.answers import Ended, TokenChance, TokenLogprob, ToolCallBegun
from llm_sdks.formats.api import Head, Json
from llm_sdks.usage import Usage

# What a response repeats of its request, and what stands for it elsewhere.
_REPEATED: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_INCOMPLETE = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}


def response_of(
    head: Head, status: str, output: list[Json], usage: Usage | None = None
) -> Json:
    """Give a response in some state."""
    repeated = {
        name: value if (asked := head.request.get(name)) is None else asked
        for name, value in _REPEATED.items()
    }
    return {
        "id": f"resp_{head.id}",
        "object": "response",
        "created_at": head.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": head.model,
        "output": output,
        "tools": [_tool(each) for each in head.request.get("tools") or ()],
        **repeated,
        # Nothing is kept by the provider that it could be read from.
        "store": False,
        "usage": None if usage is None else usage_of(usage),
    }


def _tool(tool: Mapping[str, Any]) -> Json:
    return {"parameters": None, "strict": None, **tool}


def incomplete_reason(ended: Ended, *, refused: bool) -> str | None:
    """Tell why a response is not complete; None if it is."""
    if ended.finish == "refusal":
        # Without a word it would look like an empty answer.
        return None if refused else "content_filter"
    return _INCOMPLETE.get(ended.finish)


def usage_of(usage: Usage) -> Json:
    """Write the tokens that were counted."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def logprob_of(token: TokenLogprob) -> Json:
    """Write the probability of one token."""
    return {**_chance(token), "top_logprobs": [_chance(x) for x in token.top]}


def _chance(chance: TokenChance) -> Json:
    # Here the bytes may not be left out.
    data = chance.token.encode() if chance.data is None else chance.data
    return {
        "token": chance.token,
        "logprob": chance.logprob,
        "bytes": list(data),
    }


@dataclass(slots=True)
class Item:
    """One item of the output while it is written; `kind` is its type."""

    kind: str
    id: str
    index: int
    pieces: list[str] = field(default_factory=list)
    logprobs: list[Json] = field(default_factory=list)
    call: ToolCallBegun | None = None

    @property
    def text(self) -> str:
        """What it says so far."""
        return "".join(self.pieces)

    def part(self) -> Json:
        """Give its one part, as far as it goes."""
        match self.kind:
            case "refusal":
                return {"type": "refusal", "refusal": self.text}
            case "reasoning":
                return {"type": "summary_text", "text": self.text}
            case _:
                return {
                    "type": "output_text",
                    "text": self.text,
                    "annotations": [],
                    "logprobs": self.logprobs,
                }

    def json(self, status: str = "completed") -> Json:
        """Give the item in some state."""
        parts = [self.part()] if status != "in_progress" else []
        if self.call is not None:
            return {**self._call(self.call), "status": status}
        if self.kind == "reasoning":
            return {"id": self.id, "type": "reasoning", "summary": parts}
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": parts,
        }

    def _call(self, call: ToolCallBegun) -> Json:
        body: Json = {
            "id": self.id,
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": self.text,
        }
        if call.signature:
            more = {"google": {"thought_signature": call.signature}}
            body["extra_content"] = more
        return body
