import json
from pathlib import Path
from typing import Any

import pytest

from api.models.job_fields import REQUEST_BYTES_LIMIT
from cli.errors import CommandError
from cli.input_file import Item, Question, read_items
from utilities.payload import MAX_DEPTH

QUESTION = Question("gpt", "OpenAI", "Is it good?", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.jsonl"


def read(path: Path, *lines: object, **options: Any) -> list[Item]:
    """Write the lines and read them back as items."""
    texts = [x if isinstance(x, str) else json.dumps(x) for x in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    question = options.pop("question", QUESTION)
    return read_items(path, question, **options)


def refusal(path: Path, *lines: object, **options: Any) -> str:
    """Tell why the lines are refused."""
    with pytest.raises(CommandError) as refused:
        read(path, *lines, **options)
    return str(refused.value)


def test_a_line_becomes_an_item(path: Path) -> None:
    line = {"id": 7, "text": "fine", "label": True, "n": {"deep": [1]}}
    (item,) = read(path, line, label_field="label")
    assert item.line == 1
    assert item.own_id == "7"
    assert item.label == "True"
    assert item.request_data == {"text": "fine", "n": {"deep": [1]}}


def test_id_and_label_may_be_missing_or_null(path: Path) -> None:
    items = read(
        path,
        {"text": "a", "label": "x"},
        {"text": "b", "id": None, "label": None},
        label_field="label",
    )
    assert [item.own_id for item in items] == [None, None]
    assert [item.label for item in items] == ["x", None]


def test_without_a_label_field_the_model_sees_every_field(
    path: Path,
) -> None:
    (item,) = read(path, {"text": "a", "label": "x"})
    assert item.request_data == {"text": "a", "label": "x"}
    assert item.label is None


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_blank_lines_are_passed_over_but_counted(
    path: Path, line_end: str
) -> None:
    path.write_bytes(line_end.join(['{"a":1}', "", "  ", '{"a":2}']).encode())
    assert [item.line for item in read_items(path, QUESTION)] == [1, 4]


def test_a_byte_order_mark_is_no_part_of_the_json(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert read_items(path, QUESTION)[0].request_data == {"a": 1}


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x7f"])
def test_only_a_newline_ends_a_line(path: Path, mark: str) -> None:
    # JSON may hold these as they are, and other languages write them so.
    text = f"one{mark}two"
    (item,) = read(path, json.dumps({"text": text}, ensure_ascii=False))
    assert item.request_data == {"text": text}


class TestKey:
    def test_is_the_same_for_the_same_line_and_question(
        self, path: Path
    ) -> None:
        first = read(path, {"id": "a", "text": "x"})[0].key
        assert first == read(path, '{"id":"a",   "text":"x"}')[0].key

    def test_stays_when_lines_are_added_before_it(self, path: Path) -> None:
        (alone,) = read(path, {"text": "x"})
        _, second = read(path, {"text": "new"}, {"text": "x"})
        assert alone.key == second.key
        assert (alone.line, second.line) == (1, 2)

    def test_repeated_lines_have_keys_of_their_own(self, path: Path) -> None:
        items = read(path, {"text": "x"}, {"text": "x"}, {"text": "x"})
        assert len({item.key for item in items}) == 3

    @pytest.mark.parametrize(
        "other",
        [
            Question("gpt-2", "OpenAI", "Is it good?", 0.0),
            Question("gpt", "test", "Is it good?", 0.0),
            Question("gpt", "OpenAI", "Is it bad?", 0.0),
            Question("gpt", "OpenAI", "Is it good?", 0.5),
        ],
    )
    def test_changes_with_the_question(
        self, path: Path, other: Question
    ) -> None:
        (asked,) = read(path, {"text": "x"})
        (again,) = read(path, {"text": "x"}, question=other)
        assert asked.key != again.key

    def test_changes_with_the_id(self, path: Path) -> None:
        one, two = read(path, {"id": 1, "t": "x"}, {"id": 2, "t": "x"})
        assert one.key != two.key

    def test_does_not_change_with_the_label(self, path: Path) -> None:
        # A corrected label is no reason to pay for the answer again.
        (wrong,) = read(path, {"t": "x", "label": "a"}, label_field="label")
        (right,) = read(path, {"t": "x", "label": "b"}, label_field="label")
        assert wrong.key == right.key

    def test_changes_when_the_model_sees_the_label(self, path: Path) -> None:
        (hidden,) = read(path, {"t": "x", "label": "a"}, label_field="label")
        (shown,) = read(path, {"t": "x", "label": "a"})
        assert hidden.key != shown.key


class TestRefusal:
    def test_names_every_bad_line(self, path: Path) -> None:
        message = refusal(path, {"a": 1}, "nope", [1], '"x"', "7")
        assert "in.jsonl" in message
        assert "nothing was submitted" in message
        assert "line 2: not valid JSON at column 2" in message
        for number in (3, 4, 5):
            assert f"line {number}: not a JSON object" in message
        assert "line 1" not in message

    def test_names_the_first_few_of_many(self, path: Path) -> None:
        message = refusal(path, *["nope"] * 12)
        assert "line 5:" in message
        assert "line 6:" not in message
        assert "and 7 more" in message

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ('{"x": NaN}', "NaN"),
            ('{"x": -Infinity}', "Infinity"),
            ('{"x": "\\ud83d"}', "hex escape"),
            ('{"x": 1} {"x": 2}', "trailing"),
            (
                '{"x":' + "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH + "}",
                "nested",
            ),
        ],
    )
    def test_says_what_is_wrong(
        self, path: Path, line: str, reason: str
    ) -> None:
        message = refusal(path, {"a": 1}, line)
        assert "line 2: " in message
        assert reason in message

    def test_a_line_may_be_as_deep_as_the_server_takes(
        self, path: Path
    ) -> None:
        deep: object = 1
        for _ in range(MAX_DEPTH):
            deep = {"a": deep}
        assert len(read(path, deep)) == 1

    def test_a_line_may_be_as_large_as_the_server_takes(
        self, path: Path
    ) -> None:
        room = REQUEST_BYTES_LIMIT - len('{"a":""}')
        assert len(read(path, {"a": "x" * room})) == 1
        message = refusal(path, {}, {"a": "x" * (room + 1)})
        assert f"line 2: {REQUEST_BYTES_LIMIT + 1:,} bytes" in message

    @pytest.mark.parametrize("text", ["", "\n \n"])
    def test_nothing_to_run(self, path: Path, text: str) -> None:
        assert "nothing to run" in refusal(path, text)

    def test_no_line_has_the_label_field(self, path: Path) -> None:
        # A typo would show the label to the model.
        message = refusal(path, {"t": 1, "label": "a"}, label_field="lable")
        assert "No line of" in message
        assert "'lable'" in message
        assert "label, t" in message

    def test_the_file_is_not_there(self, path: Path) -> None:
        with pytest.raises(CommandError, match=r"in\.jsonl: No such file"):
            read_items(path, QUESTION)

    def test_the_file_is_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="directory"):
            read_items(tmp_path, QUESTION)

    def test_the_file_is_not_utf_8(self, path: Path) -> None:
        path.write_bytes('{"a": "ü"}'.encode("latin-1"))
        with pytest.raises(CommandError, match="not UTF-8"):
            read_items(path, QUESTION)
