import sys

from bespokelabs import curator
from datasets import Dataset

url, source, concurrency = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Mood(curator.LLM):
    def prompt(self, row):
        return f"Is this happy? Answer as JSON.\n{row['text']}"

    def parse(self, row, response):
        return {**row, "answer": response}


mood = Mood(
    model_name="gpt-4o-mini",
    backend="openai",
    backend_params={
        "base_url": url,
        "api_key": "x",
        "max_concurrent_requests": concurrency,
        "max_requests_per_minute": 10_000_000,
        "max_tokens_per_minute": 10_000_000_000,
    },
)
answers = mood(Dataset.from_json(source))
getattr(answers, "dataset", answers).to_json("out.jsonl")
