import pytest

from api.core.dialects import ANTHROPIC, OPENAI
from api.services.gateway.problems import handed_on, problem_of, wait_of
from api.services.limits.admission import NotAdmittedError, WaitKind
from api.services.limits.budgets import BudgetExhaustedError
from llm_sdks import errors

LIMITED = NotAdmittedError(WaitKind.LIMIT, "full", 3.0)
POOR = NotAdmittedError(WaitKind.BUDGET, "no money", 3600.0)
CLOSED = NotAdmittedError(WaitKind.SUSPENDED, "closed", 60.0)


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (LIMITED, 429, "rate_limit_exceeded", None),
        (POOR, 429, "insufficient_quota", False),
        (CLOSED, 503, "model_suspended", None),
        (BudgetExhaustedError("no"), 429, "insufficient_quota", False),
        (errors.AccountExhaustedError("no"), 429, "insufficient_quota", False),
        (errors.RateLimitedError("no"), 429, "rate_limit_exceeded", None),
        (errors.ModelUnavailableError("no"), 503, "overloaded", None),
        (errors.CallTimeoutError("no"), 504, "timeout", None),
        (errors.CannotConnectError("no"), 502, "provider_error", None),
        (errors.NotAuthorizedError("no"), 502, "provider_refused", False),
        (errors.ConfigurationError("no"), 400, "not_supported", None),
        (errors.ContentFilteredError("no"), 400, "content_filter", None),
        (errors.BadRequestError("no", http_status=422), 422, None, None),
        (errors.BadRequestError("no", http_status=501), 400, None, None),
        (errors.PluginError("no"), 500, "plugin_error", False),
    ],
)
def test_each_failure_has_its_status(
    error: errors.LLMError,
    status: int,
    code: str | None,
    *,
    retry: bool | None,
) -> None:
    problem = problem_of(error)
    assert problem.status == status
    assert problem.code == code
    assert problem.may_retry is retry
    body = OPENAI.body(problem, "id")["error"]
    assert body["message"]
    assert body["type"]
    said = ANTHROPIC.body(problem, "id")
    assert said["type"] == "error"
    assert said["request_id"] == "id"


def test_overload_is_529_with_anthropic() -> None:
    problem = problem_of(errors.OverloadedError("busy", retry_after=2.5))
    assert OPENAI.status(problem) == 503
    assert ANTHROPIC.status(problem) == 529
    headers = problem.headers()
    assert headers == {"retry-after": "3", "retry-after-ms": "2500"}


def test_only_limits_are_waited_for() -> None:
    assert wait_of(LIMITED) == 3.0
    assert wait_of(errors.RateLimitedError("no")) == 1.0
    assert wait_of(errors.AccountExhaustedError("no")) is None
    assert wait_of(errors.ProviderError("no")) is None


@pytest.mark.parametrize(
    ("status", "content", "goes_on"),
    [
        (422, b'{"error": {"message": "no"}}', True),
        (500, b'{"error": {"message": "no"}}', True),
        (401, b'{"error": {"message": "no"}}', False),
        (500, b"<html>", False),
        (500, b'{"detail": "no"}', False),
        (500, None, False),
        (200, b'{"error": {"message": "no"}}', False),
    ],
)
def test_a_vendors_own_words_go_on(
    status: int, content: bytes | None, *, goes_on: bool
) -> None:
    error = errors.ProviderError("no", http_status=status)
    error.content = content
    assert (handed_on(error) is not None) is goes_on
    broke = errors.AccountExhaustedError("no", http_status=status)
    broke.content = content
    assert handed_on(broke) is None
