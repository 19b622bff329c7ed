"""How fast known rows are looked up: 100,000 in less than ten seconds."""

import pymongo
import pytest
from bson import ObjectId

from api.models.job_models import JobCreate
from api.models.model_models import Model
from api.services.jobs.answer_key import Asker
from tests.support.api_user import ApiUser
from tests.support.live_server import LiveServer
from tests.support.timing import elapsed_seconds, is_within
from utilities import payload

ROWS, BLOCK = 5000, 1000
PROMPT = "Answer as JSON."


@pytest.mark.timing
def test_known_rows_are_looked_up_fast(
    server: LiveServer, database: str, user: ApiUser
) -> None:
    """Without the index, each block alone would take longer."""
    model, prompt = user.model(), user.prompt(PROMPT)
    user.worker()
    body = user.job_body(model, prompt, cache="use")
    first = user.ended(user.post("/jobs", body)["jobId"])
    name = server.application.shared.settings.db_name
    rows = [{"text": f"row {n} of many, to be known"} for n in range(ROWS)]
    with pymongo.MongoClient[dict[str, object]](database) as client:
        jobs = client[name]["jobs"]
        one = jobs.find_one({"_id": ObjectId(first["jobId"])})
        stored = client[name]["models"].find_one({"name": model})
        assert one is not None
        assert stored is not None
        asker = Asker.make(
            user.client_id,
            JobCreate.model_validate(body),
            PROMPT,
            Model.from_document(stored),
        )
        known = [
            {**one, "_id": ObjectId(), "answerKey": asker.key(payload.dump(r))}
            for r in rows
        ]
        for start in range(0, ROWS, BLOCK):
            jobs.insert_many(known[start : start + BLOCK])

    def look_up() -> None:
        for start in range(0, ROWS, BLOCK):
            asked = {"job": body, "rows": rows[start : start + BLOCK]}
            found = user.post("/jobs/answers", asked, 200)
            assert found["known"] == BLOCK

    look_up()
    assert is_within(ROWS / 10_000, lambda: elapsed_seconds(look_up))
