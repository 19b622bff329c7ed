"""`/webhooks`: who is told when jobs and runs end."""

from collections.abc import Sequence

from fastapi import APIRouter, Response

from api.core.problems import overtaken, problems
from api.dependencies.callers import AnyCaller
from api.dependencies.services import Webhooks
from api.models.webhook_models import (
    Delivery,
    DeliveryStatus,
    Webhook,
    WebhookCreate,
    WebhookUpdate,
    WebhookWithSecret,
)
from api.routers.pages import PageQuery, answer
from api.routers.resource_route import ResourceRoute

router = APIRouter(
    prefix="/webhooks", tags=["webhooks"], route_class=ResourceRoute
)
_REFUSED = {
    400: [
        "The url must begin with https://",
        "The url must not have a user or a password",
    ]
}
_CHANGED = overtaken("Webhook")
_DISABLED = {400: ["The webhook is disabled; enable it first"]}


@router.post("", status_code=201, responses=problems(_REFUSED))
async def create_webhook(
    request: WebhookCreate, webhooks: Webhooks, caller: AnyCaller
) -> WebhookWithSecret:
    """Create a webhook; only this answer shows its `secret`.

    The administrator's own webhooks get the events of all clients.
    """
    return await webhooks.create(request, caller)


@router.get("")
async def list_webhooks(
    webhooks: Webhooks, caller: AnyCaller, page: PageQuery, response: Response
) -> Sequence[Webhook]:
    """List webhooks in order of their creation."""
    return answer(await webhooks.page(caller, page), response)


@router.get("/{webhook_id}")
async def get_webhook(
    webhook_id: str, webhooks: Webhooks, caller: AnyCaller
) -> Webhook:
    """Return one webhook."""
    return await webhooks.get(webhook_id, caller)


@router.patch("/{webhook_id}", responses=problems({**_REFUSED, **_CHANGED}))
async def update_webhook(
    webhook_id: str,
    request: WebhookUpdate,
    webhooks: Webhooks,
    caller: AnyCaller,
) -> Webhook:
    """Change a webhook; enabled again, it gets what waits for it."""
    return await webhooks.update(webhook_id, request, caller)


@router.delete("/{webhook_id}", status_code=204, responses=problems(_CHANGED))
async def delete_webhook(
    webhook_id: str, webhooks: Webhooks, caller: AnyCaller
) -> None:
    """Delete a webhook with its deliveries."""
    await webhooks.delete(webhook_id, caller)


@router.post("/{webhook_id}/rotate-secret", responses=problems(_CHANGED))
async def rotate_webhook_secret(
    webhook_id: str, webhooks: Webhooks, caller: AnyCaller
) -> WebhookWithSecret:
    """Replace the `secret`; only this answer shows the new one."""
    return await webhooks.rotate_secret(webhook_id, caller)


@router.post(
    "/{webhook_id}/test", status_code=201, responses=problems(_DISABLED)
)
async def test_webhook(
    webhook_id: str, webhooks: Webhooks, caller: AnyCaller
) -> Delivery:
    """Send an event of the type `webhook.test`."""
    return await webhooks.test(webhook_id, caller)


@router.get("/{webhook_id}/deliveries")
async def list_deliveries(
    webhook_id: str,
    webhooks: Webhooks,
    caller: AnyCaller,
    page: PageQuery,
    response: Response,
    status: DeliveryStatus | None = None,
) -> Sequence[Delivery]:
    """List a webhook's deliveries, the newest first."""
    found = await webhooks.deliveries(webhook_id, status, caller, page)
    return answer(found, response)


@router.post("/{webhook_id}/deliveries/{delivery_id}/replay")
async def replay_delivery(
    webhook_id: str, delivery_id: str, webhooks: Webhooks, caller: AnyCaller
) -> Delivery:
    """Deliver an event again, with the same `webhook-id`."""
    return await webhooks.replay(webhook_id, delivery_id, caller)
