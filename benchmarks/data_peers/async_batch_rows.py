import asyncio
import json
import sys

from async_batch_llm import (
    ArtifactIdentity,
    JsonlArtifactStore,
    OpenAIModel,
    OpenAIStrategy,
    ResumePolicy,
    process_prompts,
)

url, source, concurrency = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def main():
    with open(source) as file:
        rows = [json.loads(line) for line in file]
    model = OpenAIModel.from_api_key(
        "gpt-4o-mini",
        "x",
        base_url=url,
        max_connections=concurrency,
        api_surface="chat_completions",
    )
    done = await process_prompts(
        OpenAIStrategy(model),
        [
            (str(row["id"]), f"Is this happy? Answer as JSON.\n{row['text']}")
            for row in rows
        ],
        concurrency=concurrency,
        artifact_store=JsonlArtifactStore(
            "answers.jsonl", identity=ArtifactIdentity(prompt_version="1")
        ),
        resume=ResumePolicy.REUSE_SUCCESSES,
    )
    answers = {result.item_id: result.output for result in done.results}
    with open("out.jsonl", "w") as file:
        for row in rows:
            row["answer"] = answers[str(row["id"])]
            file.write(json.dumps(row) + "\n")


asyncio.run(main())
