"""LangChain's clients of OpenAI and Anthropic."""

import asyncio
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import NotFoundError, RateLimitError
from pydantic import BaseModel, SecretStr

from tests.judges.runner import Judge

CALL = {"tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]}
LIMITED = {"status": 429, "message": "slow down", "retry_after": 0}


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"rain in {city}"


def openai(judge: Judge, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        **{
            "model": judge.gpt,
            "base_url": f"{judge.url}/v1",
            "api_key": SecretStr(judge.token),
            "max_retries": 0,
            # Only OpenAI's own address is asked for it otherwise.
            "stream_usage": True,
            **options,
        }
    )


def anthropic(judge: Judge, **options: Any) -> ChatAnthropic:
    return ChatAnthropic(
        **{
            "model": judge.claude,
            "base_url": judge.url,
            "api_key": SecretStr(judge.token),
            "max_tokens": 200,
            "max_retries": 0,
            **options,
        }
    )


def clients(judge: Judge) -> list[Any]:
    """Give each library with each vendor's model."""
    return [
        openai(judge),
        openai(judge, model=judge.claude),
        openai(judge, use_responses_api=True),
        openai(judge, model=judge.claude, use_responses_api=True),
        anthropic(judge),
        anthropic(judge, model=judge.gpt),
    ]


def check_invoke(judge: Judge) -> None:
    for client in clients(judge):
        answer = client.invoke(
            [SystemMessage("Be brief."), HumanMessage("Say hello.")]
        )
        assert "Say hello." in answer.text, answer
        assert answer.usage_metadata["input_tokens"] > 0
        assert answer.usage_metadata["output_tokens"] > 0


def check_stream(judge: Judge) -> None:
    judge.script({"text": "one two three four five six"})
    for client in clients(judge):
        chunks = list(client.stream("Count."))
        texts = [each.text for each in chunks if each.text]
        assert "".join(texts) == "one two three four five six", texts
        assert len(texts) > 1
        whole = chunks[0]
        for each in chunks[1:]:
            whole += each
        assert whole.usage_metadata["output_tokens"] > 0, client


def check_async(judge: Judge) -> None:
    async def one(client: Any) -> None:
        answer = await client.ainvoke("Say hello.")
        assert "Say hello." in answer.text
        texts = [each.text async for each in client.astream("Say hello.")]
        assert "Say hello." in "".join(texts)

    async def all_at_once() -> None:
        await asyncio.gather(*map(one, clients(judge)))

    asyncio.run(all_at_once())


def check_batch(judge: Judge) -> None:
    for client in (openai(judge), anthropic(judge)):
        answers = client.batch(["one", "two", "three"])
        said = [each.text for each in answers]
        assert all(
            word in text
            for word, text in zip(("one", "two", "three"), said, strict=True)
        )


def check_tools(judge: Judge) -> None:
    for client in clients(judge):
        judge.script(
            {"pattern": "Oslo", **CALL, "times": 1}, {"text": "Rain."}
        )
        bound = client.bind_tools([weather])
        asked: list[Any] = [HumanMessage("The weather of Oslo?")]
        answer = bound.invoke(asked)
        (call,) = answer.tool_calls
        assert (call["name"], call["args"]) == ("weather", {"city": "Oslo"})
        result = weather.invoke(call)
        assert isinstance(result, ToolMessage)
        last = bound.invoke([*asked, answer, result])
        assert last.text == "Rain.", last


def check_tools_in_streams(judge: Judge) -> None:
    judge.script(CALL)
    for client in clients(judge):
        chunks = list(client.bind_tools([weather]).stream("Oslo?"))
        whole = chunks[0]
        for each in chunks[1:]:
            whole += each
        (call,) = whole.tool_calls
        assert (call["name"], call["args"]) == ("weather", {"city": "Oslo"})


def check_structured_output(judge: Judge) -> None:
    for client in clients(judge):
        for method in ("json_schema", "function_calling"):
            bound = client.with_structured_output(Person, method=method)
            found = bound.invoke("Who is it?")
            assert isinstance(found, Person), (client, method, found)


def check_json_mode(judge: Judge) -> None:
    judge.script({"json": {"name": "Ada", "age": 36}})
    for model in (judge.gpt, judge.claude):
        bound = openai(judge, model=model).with_structured_output(
            Person, method="json_mode"
        )
        assert bound.invoke("Answer as JSON.") == Person(name="Ada", age=36)


def check_retries(judge: Judge) -> None:
    limited = {**LIMITED, "times": 2}
    for make in (openai, anthropic):
        judge.script(limited, {"text": "at last"})
        assert make(judge, max_retries=3).invoke("x").text == "at last"


def check_errors(judge: Judge) -> None:
    judge.script(LIMITED)
    try:
        openai(judge).invoke("x")
    except RateLimitError as error:
        assert error.status_code == 429
    else:
        raise AssertionError("no error")
    judge.script()
    try:
        openai(judge, model="nobody").invoke("x")
    except NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("no error")


def check_images(judge: Judge) -> None:
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
    dot += "DwADhgGAWjR9awAAAABJRU5ErkJggg=="
    picture = {
        "type": "image",
        "base64": dot,
        "mime_type": "image/png",
    }
    text = {"type": "text", "text": "What is it?"}
    for client in clients(judge):
        answer = client.invoke([HumanMessage(content=[text, picture])])
        assert "What is it?" in answer.text


def check_sampling(judge: Judge) -> None:
    client = openai(
        judge, temperature=0.2, top_p=0.9, seed=7, stop=["END"], n=1
    )
    assert "Say hello." in client.invoke("Say hello.").text
    other = anthropic(judge, temperature=0.2, stop_sequences=["END"])
    assert "Say hello." in other.invoke("Say hello.").text


def check_logprobs(judge: Judge) -> None:
    answer = openai(judge).bind(logprobs=True).invoke("Say hello.")
    assert answer.response_metadata["logprobs"]["content"]


def check_embeddings(judge: Judge) -> None:
    embeddings = OpenAIEmbeddings(
        model=judge.gpt,
        base_url=f"{judge.url}/v1",
        api_key=SecretStr(judge.token),
        # It would load a tokenizer.
        check_embedding_ctx_length=False,
    )
    vectors = embeddings.embed_documents(["one", "two"])
    assert len(vectors) == 2
    assert len(vectors[0]) == 64
    assert embeddings.embed_query("one") == vectors[0]
    again = asyncio.run(embeddings.aembed_documents(["one"]))
    assert again == vectors[:1]


def check_proxy(judge: Judge) -> None:
    client = openai(judge, base_url=f"{judge.url}/proxy/{judge.gpt}/v1")
    assert "Say hello." in client.invoke("Say hello.").text
    other = anthropic(judge, base_url=f"{judge.url}/proxy/{judge.claude}")
    assert "Say hello." in other.invoke("Say hello.").text
