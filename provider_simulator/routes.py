"""Which path is whose."""

import re
from collections.abc import Mapping

from provider_simulator.controls import Controls, not_allowed
from provider_simulator.endpoints import (
    Endpoint,
    MessageEndpoint,
    ModelEndpoint,
    detail,
)
from provider_simulator.gateway import Gateway
from provider_simulator.simulation import Simulation
from provider_simulator.values import Request, Respond
from provider_simulator.wire import Wire
from provider_simulator.wire_anthropic import AnthropicWire
from provider_simulator.wire_count_tokens import CountTokensWire
from provider_simulator.wire_embeddings import (
    AzureInferenceEmbeddingsWire,
    AzureOpenAIEmbeddingsWire,
    EmbeddingsWire,
    GeminiEmbeddingsWire,
)
from provider_simulator.wire_gemini import GeminiWire
from provider_simulator.wire_openai import (
    AzureInferenceWire,
    AzureOpenAIWire,
    OpenAIWire,
)
from provider_simulator.wire_responses import ResponsesWire

# What to put into a model's `endpoint`, after the simulator's address.
BASE_PATHS: Mapping[str, str] = {
    "OpenAI": "/v1",
    "AzureOpenAI": "",
    "ChatCompletionsClient": "/models",
    "Anthropic": "",
    "Gemini": "",
}
_OPENAI, _INFERENCE = OpenAIWire(), AzureInferenceWire()
_EMBEDDINGS = EmbeddingsWire()
_INFERENCE_EMBEDDINGS = AzureInferenceEmbeddingsWire()
_WIRES: Mapping[str, Wire] = {
    "/v1/chat/completions": _OPENAI,
    "/chat/completions": _OPENAI,
    "/openai/v1/chat/completions": _OPENAI,
    "/models/chat/completions": _INFERENCE,
    "/v1/messages": AnthropicWire(),
    "/v1/messages/count_tokens": CountTokensWire(),
    "/v1/responses": ResponsesWire(),
    "/v1/embeddings": _EMBEDDINGS,
    "/embeddings": _EMBEDDINGS,
    "/openai/v1/embeddings": _EMBEDDINGS,
    "/models/embeddings": _INFERENCE_EMBEDDINGS,
}
# Only Azure's library tells the API's version.
_WITH_VERSION: Mapping[Wire, Wire] = {
    _OPENAI: _INFERENCE,
    _EMBEDDINGS: _INFERENCE_EMBEDDINGS,
}
_PATTERNS: tuple[tuple[re.Pattern[str], Wire], ...] = (
    (
        re.compile(r"/openai/deployments/[^/]+/chat/completions"),
        AzureOpenAIWire(),
    ),
    (
        re.compile(r"/openai/deployments/[^/]+/embeddings"),
        AzureOpenAIEmbeddingsWire(),
    ),
    (
        re.compile(
            r"/(v1|v1beta|v1beta1|v1alpha)/(.+/)?(models|tunedModels)/[^/:]+"
            r":batchEmbedContents"
        ),
        GeminiEmbeddingsWire(),
    ),
    (
        re.compile(
            r"/(v1|v1beta|v1beta1|v1alpha)/(.+/)?(models|tunedModels)/[^/:]+"
            r":(generateContent|streamGenerateContent)"
        ),
        GeminiWire(),
    ),
)


class Routes:
    """The handler of every request."""

    def __init__(self, simulation: Simulation) -> None:
        self._gateway = Gateway(simulation)
        self._controls = Controls(simulation)
        self._message = MessageEndpoint(simulation)
        wires = [*_WIRES.values(), *(wire for _, wire in _PATTERNS)]
        self._models = {
            wire.name: ModelEndpoint(wire, simulation) for wire in wires
        }

    async def __call__(self, request: Request, respond: Respond) -> None:
        """Answer a request."""
        found = self._endpoint(request)
        if found is None:
            control = self._controls.answer(request)
            await respond(control or detail(404, "Not Found"))
            return
        method, endpoint = found
        if request.method == method:
            await self._gateway.handle(endpoint, request, respond)
        else:
            await respond(not_allowed(method))

    def _endpoint(self, request: Request) -> tuple[str, Endpoint] | None:
        if request.path == "/msg":
            return "GET", self._message
        wire = _wire(request)
        return None if wire is None else ("POST", self._models[wire.name])


def _wire(request: Request) -> Wire | None:
    wire = _WIRES.get(request.path)
    if wire is not None:
        has_version = "api-version=" in request.query
        return _WITH_VERSION.get(wire, wire) if has_version else wire
    for pattern, candidate in _PATTERNS:
        if pattern.fullmatch(request.path):
            return candidate
    return None
