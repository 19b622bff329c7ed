"""Anthropic's count of tokens."""

from collections.abc import Iterator

from provider_simulator.values import Answer, Call, Event, Request
from provider_simulator.wire import Body
from provider_simulator.wire_anthropic import AnthropicWire


class CountTokensWire(AnthropicWire):
    """`/v1/messages/count_tokens`."""

    name = "anthropic_count"

    def call(self, body: Body, request: Request) -> Call:
        """Read a request; it needs no `max_tokens`."""
        return super().call(
            {**body, "max_tokens": 1, "stream": False}, request
        )

    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return the count."""
        del answer, number
        return {"input_tokens": call.input_tokens}

    def events(
        self, call: Call, answer: Answer, number: int
    ) -> Iterator[Event]:
        """Yield nothing: there are no streams."""
        del call, answer, number
        return iter(())
