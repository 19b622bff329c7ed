"""What a user does with the interface, in a word each."""

import itertools
import uuid
from typing import Any

import httpx2

from tests.support.live_server import ADMIN_KEY
from tests.support.waiting import eventually

Json = dict[str, Any]
ADMIN = {"admin_api_key": ADMIN_KEY}
RUNNING = ("PENDING", "PROCESSING")

_numbers = itertools.count()


def unique(prefix: str) -> str:
    """Make a name that no other test uses."""
    return f"{prefix}-{next(_numbers)}-{uuid.uuid4().hex[:6]}"


class ApiUser:
    """One client of the service, and the administrator where needed."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http
        made = http.post(
            "/clients", headers=ADMIN, json={"name": unique("client")}
        ).json()
        self.client_id: str = made["clientId"]
        self.key: str = made["api_key"]
        self.headers = {
            "client_id": made["clientId"],
            "client_api_key": made["api_key"],
        }

    def request(
        self, method: str, path: str, status: int, **extra: Any
    ) -> Any:
        """Send as this client; check the status; return the JSON."""
        extra.setdefault("headers", self.headers)
        response = self.http.request(method, path, **extra)
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    def get(self, path: str, status: int = 200, /, **params: Any) -> Any:
        """GET with a query string."""
        return self.request("GET", path, status, params=params)

    def post(
        self,
        path: str,
        body: Any = None,
        status: int = 201,
        /,
        **headers: str,
    ) -> Any:
        """POST JSON."""
        return self.request(
            "POST",
            path,
            status,
            json=body,
            headers={**self.headers, **headers},
        )

    def patch(self, path: str, body: Any, status: int = 200) -> Any:
        """PATCH JSON."""
        return self.request("PATCH", path, status, json=body)

    def delete(self, path: str, body: Any = None, status: int = 204) -> Any:
        """DELETE, with a body for batches."""
        return self.request("DELETE", path, status, json=body)

    def model(self, **fields: Any) -> str:
        """Make a model as the administrator; return its name."""
        body = {
            "name": unique("model"),
            "sdk": "test",
            "endpoint": "",
            "apiType": "",
            "apiVersion": "",
            "deployment": "",
            "maxToken": 100,
            "minTemperature": 0,
            "maxTemperature": 2,
            "cost": {
                "tokens": 1000,
                "currency": "USD",
                "input": 1.0,
                "output": 2.0,
            },
            **fields,
        }
        made = self.request("POST", "/models", 201, json=body, headers=ADMIN)
        return str(made["name"])

    def prompt(self, text: str = "Answer as JSON.", **fields: Any) -> str:
        """Make a prompt; return its id."""
        body = {
            "name": unique("prompt"),
            "type": "WORKING",
            "status": "PUBLISHED",
            "prompt": text,
            **fields,
        }
        return str(self.post("/prompts", body)["promptId"])

    def worker(self, *, start: bool = True, **config: Any) -> str:
        """Make a worker, running unless told otherwise; return its id."""
        body = {
            "workerId": unique("worker"),
            "config": {"pollInterval": 10, "maxItemsPerBatch": 50, **config},
        }
        worker_id = str(self.post("/workers", body)["workerId"])
        if start:
            self.post(f"/workers/{worker_id}/start", None, 200)
        return worker_id

    def stop_workers(self) -> None:
        """Give this client's threads back."""
        answer = self.http.get("/workers?limit=1000", headers=self.headers)
        # Of a disabled client the service has stopped them.
        workers = answer.json() if answer.is_success else []
        ids = [w["workerId"] for w in workers if w["status"] == "running"]
        if ids:
            body = {"action": "stop", "workerIds": ids}
            self.http.patch("/workers/batch", headers=ADMIN, json=body)

    def job_body(self, model: str, prompt: str, **fields: Any) -> Json:
        """Give the body of a plain job."""
        return {
            "operation": "test",
            "workingPrompts": [prompt],
            "model": model,
            "temperature": 0,
            "priority": 100,
            "requestData": {"text": "hello"},
            **fields,
        }

    def job(self, model: str, prompt: str, **fields: Any) -> Json:
        """Submit a job."""
        made: Json = self.post("/jobs", self.job_body(model, prompt, **fields))
        return made

    def ended(self, job_id: str, seconds: float = 15.0) -> Json:
        """Wait until a job waits and runs no more; return it."""

        def look() -> Json | None:
            job: Json = self.get(f"/jobs/{job_id}")
            return None if job["status"] in RUNNING else job

        return eventually(look, seconds=seconds, what=f"end of {job_id}")
