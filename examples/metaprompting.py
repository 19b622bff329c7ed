r"""A metaprompting loop: two models, three iterations each.

Start the service with `make run`, then:

    ADMIN_API_KEY=$(grep ADMIN_API_KEY= .env | cut -d= -f2) \
        python examples/metaprompting.py

It uses the `test` plug-in, which echoes, so the suggested prompts are of no
use; give the models a real `sdk`, `endpoint` and `key` to see them improve.
"""

import time

from quickstart import ADMIN, call, check_key, ensure_model

MODELS = ["loop-small", "loop-large"]
WORKING = "Is the review positive or negative? Answer as JSON."
EVALUATION = (
    "You get the original input and a result. Judge the result. Answer as "
    'JSON: {"score": 0..1, "why": "..."}'
)
META = (
    "You get an evaluation, the prompts that were used and their result. "
    "Write a better prompt. Answer with the prompt only."
)


def make_client():
    client = call("POST", "/clients", ADMIN, {"name": "metaprompting"})
    return {
        "client-id": client["clientId"],
        "client-api-key": client["api_key"],
    }


def make_prompt(me, name, kind, text):
    prompt = {
        "name": name,
        "type": kind,
        "status": "PUBLISHED",
        "prompt": text,
    }
    return call("POST", "/prompts", me, prompt)["promptId"]


def start_run(me):
    return call(
        "POST",
        "/runs",
        me,
        {
            "initialWorkingPromptIds": [
                make_prompt(me, "sentiment", "WORKING", WORKING)
            ],
            "evalPromptId": make_prompt(me, "judge", "EVAL", EVALUATION),
            "evalModel": MODELS[1],
            "metaPromptId": make_prompt(me, "improve", "META", META),
            "metaModel": MODELS[1],
            "workingModels": MODELS,
            "maxIterations": 3,
            "requestData": {"text": "I would buy it again."},
        },
    )


def show(run):
    for model_run in run["modelRuns"]:
        print(model_run["model"])
        for step in model_run["iterations"]:
            metrics = step["processingMetrics"]
            print(
                f"  {step['iteration']}: {step['workingPromptId']} -> "
                f"{step['suggestedPromptId']}  "
                f"{metrics['totalTokens']:>4} tokens  "
                f"{metrics['totalCost']:.3f} {metrics['currency']}"
            )
    total = run["processingMetrics"]
    print(
        f"{run['status']} {run['failureReason'] or ''} "
        f"{total['totalTokens']} tokens, {total['totalCost']:.3f} "
        f"{total['currency']}"
    )


def main():
    check_key()
    for name in MODELS:
        ensure_model(name)
    me = make_client()
    worker = call("POST", "/workers", me, {"workerId": "w", "config": {}})
    call("POST", f"/workers/{worker['workerId']}/start", me)
    run = start_run(me)
    while run["status"] == "RUNNING":
        time.sleep(0.1)
        run = call("GET", f"/runs/{run['runId']}", me)
    show(run)
    call("POST", f"/workers/{worker['workerId']}/stop", me)


if __name__ == "__main__":
    main()
