"""A client of the service that uses the vendors' own libraries."""

from typing import Any

import httpx2
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.waiting import eventually


class GatewayUser(ApiUser):
    """One client with the libraries of OpenAI and Anthropic, unmodified."""

    def __init__(self, http: httpx2.Client) -> None:
        super().__init__(http)
        self.url = str(http.base_url)
        self.token = f"{self.client_id}:{self.key}"

    def openai(self, **options: Any) -> OpenAI:
        """Make a client as `OPENAI_BASE_URL` and `OPENAI_API_KEY` do."""
        return OpenAI(**self._openai(options))

    def async_openai(self, **options: Any) -> AsyncOpenAI:
        """Make the asynchronous one."""
        return AsyncOpenAI(**self._openai(options))

    def anthropic(self, **options: Any) -> Anthropic:
        """Make a client as `ANTHROPIC_BASE_URL` does."""
        return Anthropic(**self._anthropic(options))

    def async_anthropic(self, **options: Any) -> AsyncAnthropic:
        """Make the asynchronous one."""
        return AsyncAnthropic(**self._anthropic(options))

    def settings(self, **changes: Any) -> None:
        """Change this client, as the administrator."""
        path = f"/clients/{self.client_id}"
        self.request("PATCH", path, 200, headers=ADMIN, json=changes)

    def records(self, count: int = 1) -> list[Json]:
        """Wait for the records of a number of calls."""

        def look() -> list[Json] | None:
            found: list[Json] = self.get("/stream")
            return found if len(found) >= count else None

        return eventually(look, what=f"{count} records")

    def _openai(self, options: dict[str, Any]) -> dict[str, Any]:
        own = {"base_url": f"{self.url}/v1", "api_key": self.token}
        return {**own, "max_retries": 0, **options}

    def _anthropic(self, options: dict[str, Any]) -> dict[str, Any]:
        own = {"base_url": self.url, "api_key": self.token}
        return {**own, "max_retries": 0, **options}
