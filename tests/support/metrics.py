"""Metrics as a scrape finds them."""

from collections.abc import Iterator

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.api_user import ADMIN

TOKEN = "the-metrics-token"


class Scrape:
    """One page of metrics, parsed."""

    def __init__(self, text: str) -> None:
        self.samples: list[Sample] = [
            sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def found(self, name: str, **labels: str) -> Iterator[Sample]:
        """Give the samples of a name that have these labels."""
        for sample in self.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample

    def total(self, name: str, **labels: str) -> float:
        """Add up the samples of a name that have these labels."""
        return sum(sample.value for sample in self.found(name, **labels))

    def values(self, name: str, label: str) -> set[str]:
        """Give the values that a label has."""
        return {sample.labels[label] for sample in self.found(name)}


def scrape(http: httpx2.Client) -> Scrape:
    """Scrape as the administrator."""
    answer = http.get("/metrics", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)
