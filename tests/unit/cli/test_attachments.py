"""Files that rows name: found, checked, and put where they belong."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.attachments import (
    Mark,
    Use,
    as_template,
    check_places,
    content_of,
    found_in,
    pieces,
    texts_of,
)
from cli.errors import CommandError
from cli.input_file import Item, Question, read_items
from cli.job_requests import JobRequests

PNG = b"\x89PNG\r\n\x1a\nwhatever"
IMAGE = Mark(Use.IMAGE, "photo")


def question(prompt: str, user: str | None = None) -> Question:
    return Question("gpt", "OpenAI", prompt, 0, user=user, is_template=True)


def write(directory: Path, *rows: dict[str, Any]) -> Path:
    path = directory / "in.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def job(asked: Question, item: Item) -> dict[str, Any]:
    return JobRequests(asked, "p" if asked.system else "").asked(item)


@given(st.text(alphabet="ab {}@:\n", max_size=40))
def test_what_is_no_mark_stays(text: str) -> None:
    assert list(pieces(text)) == [text]


def test_an_image_is_a_part_between_the_texts(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    source = write(tmp_path, {"photo": "a.png", "name": "x"})
    asked = question("What is {{ name }}? {{@image:photo}} Be brief.")
    (item,) = read_items(source, asked)
    made = job(asked, item)
    assert "workingPrompts" not in made
    (message,) = made["messages"]
    data = base64.b64encode(PNG).decode()
    assert message["content"] == [
        {"type": "text", "text": "What is {{ name }}? "},
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{data}"},
        },
        {"type": "text", "text": " Be brief."},
    ]
    assert item.size > len(PNG)


def test_a_text_file_is_a_value(tmp_path: Path) -> None:
    (tmp_path / "doc.txt").write_text("{{ not a template }}")
    source = write(tmp_path, {"doc": "doc.txt"})
    asked = question("Sum up:\n{{@file:doc}}")
    (item,) = read_items(source, asked)
    made = job(asked, item)
    assert asked.system == "Sum up:\n{{ file_of_doc }}"
    assert made["variables"]["file_of_doc"] == "{{ not a template }}"
    assert made["workingPrompts"] == ["p"]
    assert "messages" not in made


def test_the_prompt_is_the_system_text_beside_a_user_text(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    source = write(tmp_path, {"photo": "a.png"})
    asked = question("You look at photos.", "{{@image:photo}}")
    (item,) = read_items(source, asked)
    made = job(asked, item)
    assert made["workingPrompts"] == ["p"]
    assert [part["type"] for part in made["messages"][0]["content"]] == [
        "image_url"
    ]


def test_another_content_is_another_question(tmp_path: Path) -> None:
    asked = question("{{@image:photo}}")
    keys = set()
    for end in (b"1", b"2", b"1"):
        (tmp_path / "a.png").write_bytes(PNG + end)
        (item,) = read_items(write(tmp_path, {"photo": "a.png"}), asked)
        keys.add(item.key)
    assert len(keys) == 2


def test_a_url_is_left_to_the_provider(tmp_path: Path) -> None:
    url = "https://example.com/a.png"
    (found,) = found_in({"photo": url}, [IMAGE], tmp_path)
    assert content_of("{{@image:photo}}", [found]) == [
        {"type": "image_url", "image_url": {"url": url}}
    ]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"photo": "gone.png"}, "cannot read"),
        ({"photo": ""}, "names no file"),
        ({"photo": 7}, "names no file"),
        ({}, "names no file"),
        ({"photo": "in.jsonl"}, "no PNG, JPEG, GIF or WebP"),
    ],
    ids=["missing", "empty", "number", "absent", "text"],
)
def test_all_that_is_wrong_is_told_before_any_call(
    tmp_path: Path, fields: dict[str, Any], says: str
) -> None:
    source = write(tmp_path, fields)
    with pytest.raises(CommandError, match=f"line 1: .*{says}"):
        read_items(source, question("{{@image:photo}}"))


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    found = found_in({"photo": "a.png"}, [IMAGE], tmp_path)
    path.write_bytes(PNG + b"!")
    with pytest.raises(CommandError, match="has changed"):
        content_of("{{@image:photo}}", found)


def test_what_is_no_use_of_a_file_is_told() -> None:
    with pytest.raises(CommandError, match="@video"):
        as_template("{{@video:clip}}")
    with pytest.raises(CommandError, match="--user"):
        check_places("{{@image:photo}}", "text")
    assert texts_of(()) == {}
