import asyncio
import json
import sys

import openai

url, source, concurrency = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def main():
    places = asyncio.Semaphore(concurrency)
    with open(source) as file:
        rows = [json.loads(line) for line in file]
    async with openai.AsyncOpenAI(
        api_key="x", base_url=url, http_client=openai.DefaultAioHttpClient()
    ) as client:

        async def ask(row):
            text = f"Is this happy? Answer as JSON.\n{row['text']}"
            async with places:
                done = await client.chat.completions.create(
                    model="gpt-4o-mini",
                    messages=[{"role": "user", "content": text}],
                )
            return {**row, "answer": done.choices[0].message.content}

        answers = await asyncio.gather(*map(ask, rows))
    with open("out.jsonl", "w") as file:
        file.writelines(json.dumps(answer) + "\n" for answer in answers)


asyncio.run(main())
