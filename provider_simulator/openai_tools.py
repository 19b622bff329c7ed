"""Tools and log probabilities as OpenAI has them."""

from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from provider_simulator.values import Tool, ToolCall, pieces
from provider_simulator.wire import Body, mapping

# The likelihood of what is said, and of each alternative.
_SAID, _OTHER = -0.125, -2.5


def tools_of(body: Body) -> tuple[Tool, ...]:
    """Return the functions that the model may call.

    Responses have their fields one level higher.
    """
    tools = body.get("tools")
    if not isinstance(tools, list):
        return ()
    found = [
        mapping(tool.get("function")) or tool for tool in map(mapping, tools)
    ]
    return tuple(
        Tool(str(tool.get("name")), mapping(tool.get("parameters")))
        for tool in found
    )


def must_call(body: Body) -> str | None:
    """Return the function that has to be called; an empty name for any."""
    choice = body.get("tool_choice")
    if choice == "required":
        return ""
    named = mapping(choice)
    if named.get("type") != "function":
        return None
    return str(mapping(named.get("function")).get("name") or named.get("name"))


def call_id(number: int, index: int) -> str:
    """Return the id of a call."""
    return f"call_{number:022x}{index:02x}"


def called(calls: tuple[ToolCall, ...], number: int) -> list[dict[str, Any]]:
    """Return the calls of an answer in one piece."""
    return [
        {
            "id": call_id(number, index),
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": to_json(call.arguments).decode(),
            },
        }
        for index, call in enumerate(calls)
    ]


def called_in_pieces(
    calls: tuple[ToolCall, ...], number: int
) -> Iterator[dict[str, Any]]:
    """Yield the calls as a stream has them."""
    for index, call in enumerate(called(calls, number)):
        arguments = call["function"]["arguments"]
        begun = {**call["function"], "arguments": ""}
        yield {"index": index, **call, "function": begun}
        for piece in pieces(arguments):
            yield {"index": index, "function": {"arguments": piece}}


def logprobs_of(body: Body) -> int | None:
    """Return how many alternatives of each token are asked for."""
    top = body.get("top_logprobs")
    if body.get("logprobs") is not True:
        return None
    return top if isinstance(top, int) else 0


def chances(text: str, top: int) -> dict[str, Any]:
    """Return the log probabilities of a text's tokens."""
    return {
        "content": [token(piece, top) for piece in pieces(text)],
        "refusal": None,
    }


def token(piece: str, top: int) -> dict[str, Any]:
    """Return the log probability of one token, and of alternatives."""
    others = [_chance(f"{piece}{rank}", _OTHER) for rank in range(1, top)]
    first = _chance(piece, _SAID)
    return {**first, "top_logprobs": [first, *others] if top else []}


def _chance(piece: str, chance: float) -> dict[str, Any]:
    data = list(piece.encode())
    return {"token": piece, "logprob": chance, "bytes": data}
