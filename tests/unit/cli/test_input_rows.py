"""Rows of every kind of file, and what is wrong with others."""

import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.input_rows import STDIN, InputRow, Kind, expanded, read_rows
from cli.packing import opened

ROWS = [{"id": "7", "text": 'say "a, b"'}, {"id": "8", "text": "two\nlines"}]
CSV = 'id,text\r\n7,"say ""a, b"""\r\n8,"two\r\nlines"\r\n'

TSV = CSV.replace(",", "\t").replace("a\t b", "a, b")
JSONL = "\n\n".join(map(json.dumps, ROWS))


def packed(text: str) -> bytes:
    # Without the time: tests are named by what they are given.
    return gzip.compress(text.encode(), mtime=0)


def write(path: Path, content: str | bytes) -> Path:
    as_bytes = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(as_bytes)
    return path


def fields(*sources: Path, kind: Kind | None = None) -> list[object]:
    rows = list(read_rows(sources, kind))
    assert not [row.problem for row in rows if row.problem]
    return [row.fields for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.csv", "\ufeff" + CSV),
        ("a.csv", CSV.replace(",", ";").replace("a; b", "a, b")),
        ("a.TSV", TSV),
        ("a.csv.gz", packed(CSV)),
        ("a.csv", CSV.encode("utf-16")),
        ("a.jsonl", JSONL),
        ("a.jsonl.gz", packed(JSONL)),
    ],
)
def test_each_is_read(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert fields(write(tmp_path / name, content)) == ROWS


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    arro3 = pytest.importorskip("arro3.io")
    rows = [{"id": 7, "score": 0.5, "tags": ["a"]}]
    lines = write(tmp_path / "x.jsonl", json.dumps(rows[0]))
    schema = arro3.infer_json_schema(str(lines))
    path = tmp_path / "x.parquet"
    arro3.write_parquet(arro3.read_json(str(lines), schema), str(path))
    assert fields(path) == rows


def test_standard_input_is_read_as_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = io.TextIOWrapper(io.BytesIO(b"id,text\n7,x\n"))
    monkeypatch.setattr(sys, "stdin", given)
    assert fields(STDIN, kind=Kind.CSV) == [{"id": "7", "text": "x"}]


def test_of_several_files_each_row_names_its_own(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl"):
        write(tmp_path / name, '{"n": 1}')
    sources = expanded([tmp_path / "*.jsonl"])
    assert [path.name for path in sources] == ["a.jsonl", "b.jsonl"]
    assert list(read_rows(sources)) == [
        InputRow(1, {"n": 1}, str(path)) for path in sources
    ]


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("a,b\n1,2\n3\n", 3, "1 values for 2 columns"),
        ("a,b\n1,2,3\n", 2, "3 values for 2 columns"),
        ('a,b\n1,"x\n', 2, "unexpected end"),
    ],
)
def test_broken_rows_are_told_by_their_lines(
    tmp_path: Path, content: str, line: int, problem: str
) -> None:
    *_, row = read_rows([write(tmp_path / "a.csv", content)])
    assert row.line == line
    assert problem in str(row.problem)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "a,a\n1,2\n", "'a' twice"),
        ("a.csv", "a,\n1,2\n", "without a name"),
        ("a.csv", b"a\n\xff\xfe\x00", "Cannot read"),
        ("a.csv.gz", packed("a\n1\n")[:-9], "no whole compressed"),
        ("a.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read_say_why(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        list(read_rows([write(tmp_path / name, content)]))


def test_names_that_stand_for_nothing_or_the_same(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No file is called"):
        expanded([tmp_path / "*.csv"])
    path = write(tmp_path / "a.csv", "a\n1\n")
    with pytest.raises(CommandError, match="given twice"):
        expanded([path, tmp_path / "*.csv"])


@pytest.mark.parametrize("name", ["rows.arrow", "rows.arrows"])
def test_arrow_is_read_as_a_file_and_as_a_stream(
    tmp_path: Path, name: str
) -> None:
    io = pytest.importorskip("arro3.io")
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"id": 7, "text": "x"}\n{"id": 8, "text": null}\n')
    table = io.read_json(str(lines), io.infer_json_schema(str(lines)))
    path = tmp_path / name
    write = io.write_ipc if name == "rows.arrow" else io.write_ipc_stream
    write(table, str(path), compression=None)
    assert [row.fields["id"] for row in read_rows([path])] == [7, 8]


def test_damaged_arrow_is_told(tmp_path: Path) -> None:
    pytest.importorskip("arro3.io")
    path = tmp_path / "rows.arrow"
    path.write_bytes(b"ARROW1\0\0 and nothing more")
    with pytest.raises(CommandError, match=r"rows\.arrow: cannot be read"):
        list(read_rows([path]))


def test_zstd_is_read_by_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.zst"
    with opened(path, ".zst") as file:
        file.write(b"id,text\n7,x\n")
    assert [row.fields for row in read_rows([path])] == [
        {"id": "7", "text": "x"}
    ]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CommandError, match="no whole compressed file"):
        list(read_rows([path]))
