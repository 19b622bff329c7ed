from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sdks import errors
from llm_sdks.base_sdk import CompletionRequest, LLMConfig
from llm_sdks.conversation import (
    Conversation,
    ImagePart,
    Message,
    ResponseFormat,
    Sampling,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
)

CONFIG = LLMConfig("m")
SCHEMA = {"type": "object"}
TALK = Conversation(
    (
        Message.of("system", "Be brief."),
        Message.of("user", "Is it so?"),
        Message.of("assistant", "It is."),
        Message.of("user", "Why?"),
    ),
    sampling=Sampling(temperature=0.3),
)


def test_a_request_made_the_old_way_has_a_conversation() -> None:
    old = CompletionRequest(CONFIG, "s", "u", 0.5, 9, 1, 2, SCHEMA, "k")
    assert old.conversation == Conversation(
        (Message.of("system", "s"), Message.of("user", "u")),
        response_format=ResponseFormat("json_schema", SCHEMA),
        sampling=Sampling(temperature=0.5),
    )
    assert (old.system, old.user, old.temperature) == ("s", "u", 0.5)
    assert (old.timeout, old.connect_timeout, old.read_timeout) == (9, 1, 2)
    assert (old.response_schema, old.idempotency_key) == (SCHEMA, "k")


def test_replacing_fields_of_a_request_changes_its_conversation() -> None:
    request = CompletionRequest(CONFIG, "s", "u", 0.5, 9)
    changes: dict[str, Any] = {
        "system": "t",
        "user": "v",
        "temperature": 0.1,
        "response_schema": SCHEMA,
    }
    changed = replace(request, **changes)
    for name, value in changes.items():
        assert getattr(changed, name) == value
    assert replace(changed, conversation=TALK).conversation == TALK
    assert replace(request, timeout=3).conversation == request.conversation


def test_a_plugin_that_knows_one_user_text_refuses_more() -> None:
    request = CompletionRequest(CONFIG, conversation=TALK, timeout=9)
    assert request.system == "Be brief."
    with pytest.raises(errors.ConfigurationError, match="one user message"):
        _ = request.user


def test_an_empty_user_text_is_one() -> None:
    assert CompletionRequest(CONFIG, "", "", 0, 1).user == ""


def test_the_system_text_can_go_into_the_first_user_message() -> None:
    folded = TALK.without_system()
    assert folded.messages[0] == Message.of("user", "Be brief.\n\nIs it so?")
    assert folded.messages[1:] == TALK.messages[2:]
    assert folded.without_system() == folded
    opened = replace(TALK, messages=(TALK.messages[0], TALK.messages[2]))
    assert opened.without_system().messages[0] == Message.of(
        "user", "Be brief."
    )
    image = ImagePart("https://host/a.png")
    shown = Conversation((TALK.messages[0], Message("user", (image,))))
    (message,) = shown.without_system().messages
    assert message.parts == (TextPart("Be brief."), image)


def test_an_instruction_goes_behind_the_system_text() -> None:
    assert TALK.with_instruction("As JSON.").system == "Be brief.\n\nAs JSON."
    bare = Conversation((Message.of("user", "x"),)).with_instruction("J")
    assert [each.role for each in bare.messages] == ["system", "user"]
    assert Conversation(()).with_instruction("J").system == "J"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Message("user", (ToolCall("1", "f"),)),
        lambda: Message("system", (ImagePart("https://h"),)),
        lambda: Message("tool", (TextPart("x"),)),
        lambda: Message("robot", ()),  # type: ignore[arg-type]
        ImagePart,
        lambda: ImagePart("https://h", b"x", "image/png"),
        lambda: ImagePart(data=b"x"),
        lambda: ToolChoice("tool"),
        lambda: ToolChoice("auto", "f"),
        lambda: ResponseFormat("json_schema"),
        lambda: ResponseFormat("text", SCHEMA),
    ],
)
def test_what_makes_no_sense_cannot_be_made(make: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        make()


def test_an_image_has_an_address() -> None:
    image = ImagePart(data=b"abc", media_type="image/png")
    assert image.address == "data:image/png;base64,YWJj"
    assert "abc" not in repr(image)


def test_the_parts_of_a_message_are_told_apart() -> None:
    image = ImagePart("https://h")
    result = ToolResult("1", (TextPart("a"), image, TextPart("b")))
    message = Message("tool", (result,))
    assert result.text == "a\n\nb"
    assert message.images == (image,)
    talk = Conversation((message,))
    assert talk.has_images
    assert talk.has_tools
    assert not talk.is_simple
    assert Conversation((), (ToolDefinition("f"),)).has_tools


@given(st.text(), st.text())
def test_any_texts_come_back(system: str, user: str) -> None:
    request = CompletionRequest(CONFIG, system, user, 0, 1)
    assert (request.system, request.user) == (system, user)
    folded = request.conversation.without_system()
    assert folded.is_simple
    assert folded.turns[0].text.endswith(user)
