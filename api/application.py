"""The HTTP application: its routers, middleware and description."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI

from api.core.error_responses import install_error_responses
from api.core.openapi import install_openapi
from api.core.request_body import BodyLimits, RequestBodies
from api.dependencies.callers import GUARDS
from api.dependencies.services import Services
from api.middleware.correlation import correlation_middleware
from api.middleware.error_boundary import ErrorBoundaryMiddleware
from api.middleware.failed_logins import FailedLoginsMiddleware
from api.middleware.http_metrics import HttpMetricsMiddleware
from api.middleware.request_quota import RequestQuotaMiddleware
from api.routers import (
    budgets,
    clients,
    datasets,
    docs,
    evaluations,
    health,
    home,
    jobs,
    metrics,
    models,
    prompt_flows,
    prompts,
    proxy,
    routes,
    runs,
    streams,
    usage,
    webhooks,
    workers,
)
from api.routers.anthropic import message_batches, messages
from api.routers.openai import (
    batches,
    chat_completions,
    embeddings,
    files,
    responses,
)
from api.routers.openai import models as openai_models
from config import VERSION, Settings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

# They come first: a request is compared with one router after the other.
_GATEWAY = (
    chat_completions.router,
    messages.router,
    responses.router,
    embeddings.router,
    openai_models.router,
    proxy.router,
    message_batches.router,
    files.router,
    batches.router,
)
# In this order the interface's description shows them.
_ROUTERS = (
    clients.router,
    models.router,
    routes.router,
    prompts.router,
    prompt_flows.router,
    jobs.router,
    runs.router,
    datasets.router,
    evaluations.router,
    streams.router,
    usage.router,
    budgets.router,
    workers.router,
    webhooks.router,
    health.router,
    metrics.router,
    docs.router,
    home.router,
)


def body_limits(settings: Settings) -> BodyLimits:
    """Give the limits of requests' bodies."""
    one = settings.max_request_bytes
    return BodyLimits(
        max_bytes=one,
        # One request of the largest size must always be possible.
        max_bytes_in_flight=max(one, settings.max_request_bytes_in_flight),
        unknown=settings.unknown_fields,
    )


def gateway_body_limits(settings: Settings) -> BodyLimits:
    """Give the limits of bodies of the vendors' interfaces.

    They may have pictures in them.
    """
    one = settings.gateway_max_request_bytes
    return BodyLimits(
        max_bytes=one,
        max_bytes_in_flight=max(2 * one, settings.max_request_bytes_in_flight),
    )


def new_app(
    services: Services,
    lifespan: Lifespan,
    limits: BodyLimits,
    gateway_limits: BodyLimits,
) -> FastAPI:
    """Make the application over services that are wired."""
    app = FastAPI(
        title="Metasync",
        version=VERSION,
        summary="A job queue, worker pool and prompt optimizer for LLM work",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    app.state.bodies = RequestBodies(limits)
    app.state.gateway_bodies = RequestBodies(gateway_limits)
    install_error_responses(app)
    # The last added is the outermost.
    app.add_middleware(ErrorBoundaryMiddleware)
    app.add_middleware(
        FailedLoginsMiddleware, observer=services.metrics.observer
    )
    app.add_middleware(RequestQuotaMiddleware)
    app.add_middleware(correlation_middleware)
    app.add_middleware(
        HttpMetricsMiddleware, observer=services.metrics.observer
    )
    for router in (*_GATEWAY, *_ROUTERS):
        app.include_router(router)
    install_openapi(app, GUARDS)
    return app
