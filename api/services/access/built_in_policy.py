"""The policy that holds without a file, in the words of one.

A file's roles are added to these; one of the same name replaces it.
"""

from typing import Any, Final

_WORK: Final = (
    "jobs",
    "runs",
    "datasets",
    "evaluations",
    "stream",
    "prompts",
    "prompt-flows",
    "workers",
    "webhooks",
)
_READ: Final = (*_WORK, "usage", "budgets", "models", "routes", "clients")

BUILT_IN: Final[dict[str, Any]] = {
    "roles": {
        # Sees everything of its clients, and changes nothing.
        "viewer": {
            "allow": [f"GET /{name}/**" for name in _READ]
            + ["POST /jobs/wait"]
            # Its own ones, with at most its own rights.
            + ["GET /tokens", "POST /tokens", "DELETE /tokens/*"],
            "packages": ["*.list", "*.get", "*.read", "*.subscribe"],
        },
        # Keeps work going: cancels, repeats, starts and stops.
        "operator": {
            "includes": ["viewer"],
            "allow": [
                "POST /jobs/cancel",
                "POST /jobs/retry",
                "POST /jobs/*/cancel",
                "PATCH /jobs/*",
                "PATCH /runs/*/pause",
                "PATCH /runs/*/resume",
                "PATCH /runs/*/cancel",
                "POST /evaluations/*/cancel",
                "POST /workers/*/start",
                "POST /workers/*/stop",
                "PATCH /workers/batch",
                "POST /models/*/resume",
                "POST /webhooks/*/test",
                "POST /webhooks/*/deliveries/*/replay",
            ],
            # It changes any field.
            "deny": ["PATCH /jobs/batch"],
            "packages": ["*.cancel", "*.retry", "*.start", "*.stop"],
        },
        # Does all that a client can do, for its clients.
        "client-admin": {
            "includes": ["operator"],
            "allow": [f"* /{name}/**" for name in _WORK]
            + ["POST /clients/*/rotate-key"],
            "packages": ["*"],
            "denyPackages": ["audit.*", "clients.*", "models.*", "routes.*"],
        },
        "admin": {"allow": ["* /**"], "packages": ["*"], "allClients": True},
    }
}
