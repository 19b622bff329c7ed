"""Wires the console; no I/O happens here."""

from api.dependencies.services import Services
from api.shared import Shared
from api.web.sessions import COLLECTION, Sessions


def build_sessions(shared: Shared, services: Services) -> Sessions:
    """Make what knows who has signed in."""
    settings = shared.settings
    return Sessions(
        shared.documents(COLLECTION),
        services.clients,
        services.login_limits,
        admin_api_key=services.admin_api_key,
        pepper=settings.api_key_pepper.get_secret_value(),
        clock=shared.clock,
    )
