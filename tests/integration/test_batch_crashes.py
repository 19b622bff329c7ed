"""Batches while the service is killed: every line is answered once."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from provider_simulator.running import Simulator
from tests.support.batch_user import (
    begin,
    content_of,
    ended,
    line,
)
from tests.support.gateway_user import GatewayUser
from tests.support.processes import ServiceProcess, service_process
from tests.support.waiting import eventually

LINES = 300


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3], ids="seed-{}".format)
def test_each_line_is_answered_once_after_three_kills(
    data_dir: Path, simulator: Simulator, seed: int
) -> None:
    chance = random.Random(seed)
    simulator.configure(latency_ms=200)
    with (
        service_process(data_dir, PROVIDER_KEY="sk-x") as service,
        httpx2.Client(base_url=service.url, timeout=30) as http,
    ):
        user = GatewayUser(http)
        model = user.model(
            sdk="OpenAI",
            endpoint=simulator.base_urls["OpenAI"],
            key="PROVIDER-KEY",
            limits={"maxConcurrency": 10},
        )
        client, other = user.openai(), user.anthropic()
        rows = [line(f"r{i}", model, f"say r{i}.") for i in range(LINES)]
        batch = begin(client, rows)
        requests: Any = [
            {
                "custom_id": f"m{i}",
                "params": {**row["body"], "max_tokens": 30},
            }
            for i, row in enumerate(rows)
        ]
        messages = other.messages.batches.create(requests=requests)
        for _ in range(3):
            _killed_and_started(service, simulator, chance)
        done = ended(client, batch, seconds=120)
        assert done.status == "completed"
        found = content_of(client, done.output_file_id)
        assert [each["custom_id"] for each in found] == [
            each["custom_id"] for each in rows
        ]
        for each in found:
            said = each["response"]["body"]["choices"][0]["message"]
            assert f"say {each['custom_id']}." in said["content"]

        def look() -> bool:
            now = other.messages.batches.retrieve(messages.id)
            return now.processing_status == "ended"

        eventually(look, seconds=120)
        results = list(other.messages.batches.results(messages.id))
        assert Counter(each.custom_id for each in results) == Counter(
            f"m{i}" for i in range(LINES)
        )
        assert {each.result.type for each in results} == {"succeeded"}


def _killed_and_started(
    service: ServiceProcess, simulator: Simulator, chance: random.Random
) -> None:
    """Kill the service at any point of the batches' way."""
    at = simulator.stats()["requests"] + chance.randrange(2 * LINES // 4)
    eventually(
        lambda: simulator.stats()["requests"] >= at,
        seconds=60,
        what="the requests before the kill",
    )
    service.kill()
    service.start()
