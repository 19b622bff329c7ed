import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.errors import CommandError
from cli.input_file import Question, read_items
from cli.run_options import _prompt, answer_form
from cli.text_file import decode, read_text

MARKED = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("encoding", MARKED)
def test_every_file_is_read_without_its_mark(
    tmp_path: Path, encoding: str
) -> None:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_bytes(MARKED[encoding] + text.encode(encoding))
        return path

    assert _prompt(None, write("p.txt", "Übe.\r\nJSON.\n")) == "Übe.\nJSON.\n"
    assert answer_form(write("s.json", '{"type": "object"}'), text=False) == {
        "responseSchema": {"type": "object"}
    }
    question = Question("m", "test", "p", 0.0)
    (item,) = read_items(write("in.jsonl", '{"n": "ü"}\r\n'), question)
    assert item.request_data == {"n": "ü"}


@given(st.text(min_size=1), st.sampled_from(sorted(MARKED)))
def test_a_mark_names_its_encoding(text: str, encoding: str) -> None:
    content = text.encode(encoding)
    # UTF-16's mark before a null character is UTF-32's.
    if encoding == "utf-16-le" and text.startswith("\x00"):
        return
    assert decode(MARKED[encoding] + content) == text


@pytest.mark.parametrize(
    "content", [b"\xffabc", "Hi".encode("utf-16-le"), "Hi".encode("utf-16-be")]
)
def test_what_is_no_text_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes(content)
    with pytest.raises(CommandError, match="save it as UTF-8"):
        read_text(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        read_text(tmp_path / "p.txt")
