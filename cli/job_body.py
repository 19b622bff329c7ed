"""What a line of the input asks: the one place where it becomes a job's."""

from cli.answers_options import CacheOptions
from cli.input_file import Item, Question
from cli.rest_client import Json
from cli.setup import OPERATION


def job_body(
    question: Question, prompt_id: str, item: Item, cache: CacheOptions
) -> Json:
    """Give a line's job, without what only names it."""
    return {
        "operation": OPERATION,
        "workingPrompts": [prompt_id],
        "model": question.model,
        "temperature": question.temperature,
        **question.form,
        **_asked(question, item),
        **cache.fields(item.sample),
    }


def _asked(question: Question, item: Item) -> Json:
    if not question.is_template:
        return {"requestData": item.request_data}
    asked: Json = {"variables": item.request_data}
    if question.user is not None:
        asked["messages"] = [{"role": "user", "content": question.user}]
    return asked
