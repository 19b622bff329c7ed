"""Calls to the provider simulator, and how to read what it says."""

import json
import re
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx2

from provider_simulator.running import Simulator

Json = dict[str, Any]

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
]
OPENAI, AZURE = (
    "/v1/chat/completions",
    "/openai/deployments/gpt/chat/completions",
)
AZURE_OPENAI = f"{AZURE}?api-version=2024-10-21"
INFERENCE = "/models/chat/completions?api-version=2024-05-01-preview"
ANTHROPIC = "/v1/messages"
GEMINI = "/v1beta/models/gemini:generateContent"
GEMINI_STREAM = "/v1beta/models/gemini:streamGenerateContent"
CHAT: Json = {"model": "m", "messages": MESSAGES}
CLAUDE: Json = {**CHAT, "messages": MESSAGES[1:], "max_tokens": 100}
CONTENTS: Json = {"contents": [{"parts": [{"text": "Hello"}]}]}
CALLS = [
    (OPENAI, CHAT),
    (AZURE_OPENAI, CHAT),
    (INFERENCE, CHAT),
    (ANTHROPIC, CLAUDE),
    (GEMINI, CONTENTS),
]
SCHEMA = {
    "type": "object",
    "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["mood"],
}


def said(path: str, body: Json) -> str:
    """Return the text of an answer in one piece."""
    if "chat/completions" in path:
        return str(body["choices"][0]["message"]["content"])
    if path == ANTHROPIC:
        return "".join(block["text"] for block in body["content"])
    return str(body["candidates"][0]["content"]["parts"][0]["text"])


def streamed(response: httpx2.Response) -> list[Json]:
    """Return the data of server-sent events."""
    assert response.headers["content-type"].startswith("text/event-stream")
    data = re.findall(r"^data: (.*)$", response.text, re.MULTILINE)
    return [json.loads(line) for line in data if line != "[DONE]"]


def raw(
    simulator: Simulator, request: str, buffer_bytes: int | None = None
) -> socket.socket:
    """Send the text of a request over a connection of its own.

    With `buffer_bytes`, so much of the answer waits here to be read.
    """
    address = urlsplit(simulator.url)
    connection = socket.socket()
    connection.settimeout(20)
    if buffer_bytes:
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes
        )
    connection.connect((address.hostname, address.port))
    connection.sendall(request.encode())
    return connection


def all_of(connection: socket.socket) -> str:
    """Return what comes until the connection ends."""
    with connection, connection.makefile("rb") as stream:
        return stream.read().decode()
