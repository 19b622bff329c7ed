"""OpenAI's Responses as clients speak them: requests in, answers out."""

from llm_sdks.answers import Answer, events_of
from llm_sdks.formats.api import Head, Json
from llm_sdks.formats.openai_errors import status_of, write_error
from llm_sdks.formats.openai_responses_asked import read
from llm_sdks.formats.openai_responses_stream import StreamWriter

__all__ = ["StreamWriter", "read", "status_of", "write", "write_error"]


def write(answer: Answer, head: Head) -> Json:
    """Write a whole answer: a `response`."""
    writer = StreamWriter(head)
    for event in events_of(answer):
        writer.write(event)
    return writer.response()
