r"""A job from submission to answer, with nothing but Python.

Start the service with `make run`, then:

    ADMIN_API_KEY=$(grep ADMIN_API_KEY= .env | cut -d= -f2) \\
        python examples/quickstart.py

It uses the `test` plug-in, which needs no key. For a real model, give the
model `sdk`, `endpoint` and `key` (see docs/getting-started.md).
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

URL = os.environ.get("METASYNC_URL", "http://127.0.0.1:8001")
ADMIN = {"admin-api-key": os.environ.get("ADMIN_API_KEY", "")}
END_STATES = {"PROCESSED", "ERROR_PROCESSING", "CANCELED"}


def call(method, path, headers, body=None):
    request = urllib.request.Request(
        f"{URL}{path}",
        method=method,
        headers={**headers, "Content-Type": "application/json"},
        data=None if body is None else json.dumps(body).encode(),
    )
    try:
        with urllib.request.urlopen(request) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {path}: {error.code} {error.read().decode()}")
    except OSError as error:
        sys.exit(
            f"There is no service at {URL} ({error}). Start it with "
            "`make run`, or set METASYNC_URL."
        )


def ensure_model(name):
    names = [model["name"] for model in call("GET", "/models", ADMIN)]
    if name not in names:
        price = {"tokens": 1000, "currency": "USD", "input": 1, "output": 2}
        model = {"name": name, "sdk": "test", "maxToken": 100, "cost": price}
        call("POST", "/models", ADMIN, model)


def check_key():
    if not ADMIN["admin-api-key"]:
        sys.exit("Set ADMIN_API_KEY to the one in .env (made by `make run`).")


def main():
    check_key()
    client = call("POST", "/clients", ADMIN, {"name": "quickstart"})
    me = {
        "client-id": client["clientId"],
        "client-api-key": client["api_key"],
    }
    ensure_model("quickstart-model")
    prompt = call(
        "POST",
        "/prompts",
        me,
        {
            "name": "sentiment",
            "type": "WORKING",
            "status": "PUBLISHED",
            "prompt": 'Answer as JSON: {"sentiment": "positive|negative"}',
        },
    )
    worker = call("POST", "/workers", me, {"workerId": "w", "config": {}})
    call("POST", f"/workers/{worker['workerId']}/start", me)
    job = call(
        "POST",
        "/jobs",
        me,
        {
            "operation": "sentiment",
            "workingPrompts": [prompt["promptId"]],
            "model": "quickstart-model",
            "requestData": {"text": "I would buy it again."},
        },
    )
    while job["status"] not in END_STATES:
        time.sleep(0.05)
        job = call("GET", f"/jobs/{job['jobId']}", me)
    print(job["status"], json.dumps(job["responseData"]))
    print(json.dumps(job["processingMetrics"]))
    call("POST", f"/workers/{worker['workerId']}/stop", me)


if __name__ == "__main__":
    main()
