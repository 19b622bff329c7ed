import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.services.calls.model_call import SlowReaderError
from api.services.calls.stream_buffer import StreamBuffer

NEVER = 3600.0


async def read_all(buffer: StreamBuffer[str]) -> str:
    texts = []
    while (text := await buffer.take()) is not None:
        texts.append(text)
    return "".join(texts)


@given(st.lists(st.text(min_size=1)), st.integers(min_value=1, max_value=50))
def test_what_is_put_is_read_in_order(pieces: list[str], limit: int) -> None:
    async def both() -> str:
        buffer = StreamBuffer(limit, NEVER, "")

        async def write() -> None:
            for piece in pieces:
                await buffer.put(piece)
            buffer.close()

        text, _ = await asyncio.gather(read_all(buffer), write())
        return text

    assert asyncio.run(both()) == "".join(pieces)


async def test_a_full_buffer_makes_the_writer_wait() -> None:
    buffer = StreamBuffer(4, NEVER, "")
    await buffer.put("four")
    writer = asyncio.create_task(buffer.put("more"))
    await asyncio.sleep(0)
    assert not writer.done()
    assert await buffer.take() == "four"
    await writer
    assert await buffer.take() == "more"


async def test_a_reader_that_stopped_ends_the_writer() -> None:
    buffer = StreamBuffer(4, 0.01, "")
    await buffer.put("four")
    with pytest.raises(SlowReaderError, match=r"read nothing for 0\.01 s"):
        await buffer.put("more")


async def test_an_empty_buffer_takes_a_piece_of_any_size() -> None:
    buffer = StreamBuffer(1, 0.01, "")
    await buffer.put("a long piece")
    assert await buffer.take() == "a long piece"


async def test_closing_never_waits_and_leaves_what_was_put() -> None:
    buffer = StreamBuffer(1, NEVER, "")
    await buffer.put("full")
    buffer.close()
    assert await read_all(buffer) == "full"
