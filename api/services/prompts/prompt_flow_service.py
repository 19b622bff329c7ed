"""Prompt flows: a client's own or public."""

from api.models.prompt_flow_models import (
    PromptFlow,
    PromptFlowCreate,
    PromptFlowUpdate,
)
from api.services.shared import sharing
from api.services.shared.caller import Caller
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import Repository
from utilities.cosmos_connector import Documents, ObjectId

_WHAT = "prompt flow"


class PromptFlowService:
    """Rules and ownership of prompt flows."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._flows = Repository(documents, PromptFlow, "Prompt flow")

    async def create(
        self, request: PromptFlowCreate, caller: Caller
    ) -> PromptFlow:
        """Store a flow.

        Raises:
            ForbiddenError: a client asked for a public one.
        """
        owner = sharing.owner_of_new(
            public=request.is_public, caller=caller, what=_WHAT
        )
        fields = request.model_dump(by_alias=True)
        return await self._flows.add({**fields, "clientId": owner})

    async def page(
        self, caller: Caller, request: PageRequest
    ) -> Page[PromptFlow]:
        """List the caller's own and all public flows."""
        return await fetch_page(
            self._documents,
            caller.own_or_public,
            request,
            PromptFlow.from_document,
        )

    async def get(self, flow_id: str, caller: Caller) -> PromptFlow:
        """Return one.

        Raises:
            NotFoundError: there is none, or it is another client's.
        """
        return await self._flows.get(flow_id, caller.own_or_public)

    async def update(
        self, flow_id: str, request: PromptFlowUpdate, caller: Caller
    ) -> PromptFlow:
        """Change what is given; jobs that are queued keep their prompts.

        Raises:
            ForbiddenError: what only the administrator may do.
        """
        return await self._flows.change(
            flow_id,
            caller.own_or_public,
            lambda current: sharing.changes_of(
                current, request, caller, _WHAT
            ),
        )

    async def delete(self, flow_id: str, caller: Caller) -> None:
        """Delete one; jobs that are queued keep their prompts."""
        await self._flows.remove(
            flow_id,
            caller.own_or_public,
            check=lambda flow: sharing.check_may(
                "delete", flow, caller, _WHAT
            ),
        )

    async def prompts_of(
        self, flow_ids: set[str], client_id: str
    ) -> dict[str, list[str]]:
        """Return the prompt ids of the flows that the client may use."""
        ids = [ObjectId(each) for each in flow_ids if ObjectId.is_valid(each)]
        found = await self._documents.find(
            {**Caller(client_id).own_or_public, "_id": {"$in": ids}},
            fields=["promptIds"],
        )
        prompts = {str(each["_id"]): each["promptIds"] for each in found}
        # An id may also be spelt in capitals.
        return {
            flow_id: prompts[flow_id.lower()]
            for flow_id in flow_ids
            if flow_id.lower() in prompts
        }
