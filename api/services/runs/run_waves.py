"""What runs on a dataset have done: their waves and candidates.

One document for each, so that none grows without end. A wave is stored
twice: as planned, before its first job is queued, and with its results. So
whoever goes on with a run, in any process, does what was planned first.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.core.errors import NotFoundError
from api.models.optimization_models import RunCandidate
from api.services.shared.caller import Caller
from api.services.shared.paging import Page, PageRequest, fetch_page
from utilities import payload
from utilities.cosmos_connector import (
    Document,
    Documents,
    DuplicateKeyError,
    ObjectId,
)

WAVES, CANDIDATES = "run_waves", "run_candidates"


@dataclass(frozen=True, slots=True)
class StoredWave:
    """A planned wave; `results` is None until it is done."""

    number: int
    plan: Mapping[str, Any]
    results: Mapping[str, Any] | None

    @classmethod
    def of(cls, document: Document) -> "StoredWave":
        """Read a document."""
        results = document.get("results")
        return cls(
            document["number"],
            payload.load(document["plan"]),
            None if results is None else payload.load(results),
        )


class RunWaves:
    """The store of waves and candidates."""

    def __init__(self, waves: Documents, candidates: Documents) -> None:
        self._waves = waves
        self._candidates = candidates

    async def of_run(self, run_id: str) -> list[StoredWave]:
        """Return the waves of a run, in their order."""
        found = await self._waves.find({"runId": run_id}, sort=[("number", 1)])
        return [StoredWave.of(each) for each in found]

    async def plan(
        self,
        run_id: str,
        client_id: str,
        number: int,
        plan: Any,  # noqa: ANN401 - JSON
    ) -> StoredWave:
        """Store what a wave does; answers the plan that was stored first.

        Raises:
            NotFoundError: the run has been deleted.
        """
        document = {
            "_id": _id(WAVES, run_id, number),
            "runId": run_id,
            "clientId": client_id,
            "number": number,
            "plan": payload.dump(plan),
            "results": None,
        }
        try:
            return StoredWave.of(await self._waves.insert(document))
        except DuplicateKeyError:
            return await self._stored({"_id": document["_id"]})

    async def finish(
        self,
        run_id: str,
        number: int,
        results: Any,  # noqa: ANN401 - JSON
    ) -> StoredWave:
        """Store what a wave has found; answers what was stored first.

        Raises:
            NotFoundError: the run has been deleted.
        """
        where = {"_id": _id(WAVES, run_id, number)}
        await self._waves.update(
            {**where, "results": None}, {"results": payload.dump(results)}
        )
        return await self._stored(where)

    async def _stored(self, where: Document) -> StoredWave:
        found = await self._waves.find_one(where)
        if found is None:
            raise NotFoundError("Run")
        return StoredWave.of(found)

    async def put_candidates(
        self, run_id: str, client_id: str, candidates: Sequence[Document]
    ) -> None:
        """Store candidates as they are now; each has its `number`."""
        documents = [
            {
                "_id": _id(CANDIDATES, run_id, each["number"]),
                "runId": run_id,
                "clientId": client_id,
                **each,
            }
            for each in candidates
        ]
        if not documents:
            return
        _, known = await self._candidates.insert_many(documents)
        if known:
            await self._candidates.update_each(
                [
                    (
                        {"_id": documents[index]["_id"]},
                        {
                            k: v
                            for k, v in documents[index].items()
                            if k != "_id"
                        },
                    )
                    for index in known
                ]
            )

    async def page_of_candidates(
        self, run_id: str, caller: Caller, page: PageRequest
    ) -> Page[RunCandidate]:
        """List the candidates of a run, in the order they were made."""
        return await fetch_page(
            self._candidates,
            {**caller.own, "runId": run_id},
            page,
            RunCandidate.from_document,
            order="number",
        )

    async def erase(self, run_id: str) -> None:
        """Remove all that is kept of a run."""
        for documents in (self._waves, self._candidates):
            await documents.erase({"runId": run_id})


def _id(kind: str, run_id: str, number: int) -> ObjectId:
    digest = hashlib.sha256(f"{kind}:{run_id}:{number}".encode()).digest()
    return ObjectId(digest[:12])
