from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.errors import MetasyncError, ParameterError, TooLargeError
from api.core.multipart import FileBegun, FormField, Part, read_form
from tests.support.examples import examples

KIND = 'multipart/form-data; boundary="x-y"'


async def pieces_of(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def parts_of(content: bytes, size: int, kind: str = KIND) -> list[Part]:
    """Read a form; what belongs to one file is joined."""
    found: list[Part] = []
    async for part in read_form(kind, pieces_of(content, size)):
        last = found[-1] if found else None
        if isinstance(part, bytes) and isinstance(last, bytes):
            found[-1] = last + part
        else:
            found.append(part)
    return found


def form(*parts: tuple[str, bytes]) -> bytes:
    written = [
        b"--x-y\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n"
        % (head.encode(), body)
        for head, body in parts
    ]
    return b"".join(written) + b"--x-y--\r\n"


@settings(max_examples=examples(200))
@given(
    st.lists(st.sampled_from([b"\r\n", b"--x-y", b"--", b"a", b"\xff", b"-"])),
    st.integers(1, 40),
)
async def test_a_form_is_read_however_it_is_cut(
    words: list[bytes], size: int
) -> None:
    content = b"".join(words)
    if b"\r\n--x-y" in b"\r\n" + content:
        # A boundary, that is.
        return
    body = form(
        ('name="purpose"', b"batch"),
        ('name="file"; filename="a b.jsonl"', content),
    )
    found = await parts_of(body, size)
    expected: list[Part] = [
        FormField("purpose", "batch"),
        FileBegun("file", "a b.jsonl"),
    ]
    assert found == expected + ([content] if content else [])


@settings(max_examples=examples(200))
@given(
    st.binary(max_size=60),
    st.integers(1, 60),
    st.sampled_from([b"", b"--x-y\r\n"]),
)
async def test_nonsense_is_refused_and_never_a_defect(
    content: bytes, size: int, begin: bytes
) -> None:
    with pytest.raises(MetasyncError):
        await parts_of(begin + content, size)


async def test_fields_are_bounded_in_number_and_size() -> None:
    many = form(*[(f'name="{i}"', b"") for i in range(101)])
    long = form(('name="a"', b"x" * 65_537))
    for body in (many, long):
        with pytest.raises(TooLargeError):
            await parts_of(body, 1000)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("", id="none"),
        pytest.param("application/json", id="json"),
        pytest.param("multipart/form-data", id="no boundary"),
        pytest.param("multipart/form-data; boundary=" + "b" * 300, id="long"),
    ],
)
async def test_what_is_no_form_is_refused(kind: str) -> None:
    with pytest.raises(ParameterError):
        await parts_of(b"--x-y--", 5, kind)
