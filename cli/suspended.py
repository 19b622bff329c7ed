"""A model that is suspended before anything was answered."""

from cli.early_stop import AllFailAlikeError, advice
from cli.rest_client import RestClient

# Waiting helps against the others: a quota returns, an account is paid.
_FOR_GOOD = frozenset({"KEY_REFUSED", "MODEL_NOT_FOUND"})


def told_at_once(api: RestClient, name: str, trouble: str) -> None:
    """End the run if what the model is suspended for needs a change.

    Raises:
        AllFailAlikeError: it does; says what to do.
    """
    for model in api.pages("/models"):
        reason = (model.get("suspended") or {}).get("reason")
        if model["name"] == name and reason in _FOR_GOOD:
            raise AllFailAlikeError(
                f"Stopped, because {trouble}. {advice(reason)}. The same "
                "command continues where it stopped (--give-up-after 0 waits)"
            )
