from typing import Any

import pytest

from llm_sdks import errors
from llm_sdks.formats import failures

KEY = "key-abcdefgh-ijklmnop"


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ({"code": 429}, errors.RateLimitedError),
        ({"code": "429"}, errors.RateLimitedError),
        ({"code": "TooManyRequests"}, errors.RateLimitedError),
        ({"code": "rate_limit_exceeded"}, errors.RateLimitedError),
        ({"type": "rate_limit_error"}, errors.RateLimitedError),
        ({"status": "RESOURCE_EXHAUSTED"}, errors.RateLimitedError),
        ({"code": "ServiceUnavailable"}, errors.OverloadedError),
        ({"status": "UNAVAILABLE"}, errors.OverloadedError),
        ({"type": "overloaded_error"}, errors.OverloadedError),
        ({"code": "Timeout"}, errors.CallTimeoutError),
        ({"status": "DEADLINE_EXCEEDED"}, errors.CallTimeoutError),
        ({"code": "invalid_api_key"}, errors.NotAuthorizedError),
        ({"status": "PERMISSION_DENIED"}, errors.NotAuthorizedError),
        ({"code": "content_filter"}, errors.ContentFilteredError),
        ({"type": "invalid_request_error"}, errors.BadRequestError),
        ({"code": "BadRequest"}, errors.BadRequestError),
        ({"code": "DeploymentNotFound"}, errors.BadRequestError),
        ({"code": "InternalServerError"}, errors.ProviderError),
        ({"code": 7}, errors.ProviderError),
        ({}, errors.ProviderError),
        ("text", errors.ProviderError),
        ([1], errors.ProviderError),
    ],
)
def test_an_error_in_a_body_is_known_by_its_words(
    problem: Any, kind: type[errors.LLMError]
) -> None:
    error = failures.in_body({"error": problem}, {}, KEY)
    assert type(error) is kind


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": {"message": "so it is"}}, "HTTP 400: so it is"),
        ([{"error": {"message": "so it is"}}], "HTTP 400: so it is"),
        ({"message": "so it is"}, "HTTP 400: so it is"),
        ({"error": "so it is"}, "HTTP 400: so it is"),
        ({"error": {"message": f"{KEY}{KEY}!"}}, "HTTP 400: [key][key]!"),
        ({"error": {"message": 5}}, "HTTP 400"),
        (None, "HTTP 400"),
        ([], "HTTP 400"),
    ],
)
def test_the_message_is_found_where_providers_put_it(
    body: object, text: str
) -> None:
    assert str(failures.of_status(400, {}, body, KEY)) == text


def test_a_key_is_not_quoted_in_part_where_the_text_is_cut() -> None:
    message = "x" * 990 + KEY
    error = failures.of_status(400, {}, {"error": {"message": message}}, KEY)
    assert KEY[:4] not in str(error)


@pytest.mark.parametrize(
    ("problem", "refused"),
    [
        ({"param": "temperature", "code": "unsupported_value"}, True),
        ({"param": "temperature", "message": "not supported"}, True),
        ({"message": "temperature: Extra inputs are not permitted"}, True),
        ({"param": "temperature", "code": "invalid_type"}, False),
        ({"param": "top_p", "message": "not supported"}, False),
        ({"message": "temperature must be from 0 to 1"}, False),
    ],
)
def test_a_refused_temperature_is_told_from_a_wrong_one(
    problem: dict[str, Any], *, refused: bool
) -> None:
    error = failures.of_status(400, {}, {"error": problem}, KEY)
    assert isinstance(error, failures.TemperatureRefusedError) is refused


def test_the_providers_name_of_a_request_is_kept() -> None:
    headers = {"request-id": "req-1", "retry-after": "3"}
    error = failures.of_status(503, headers, None, KEY)
    assert (error.request_id, error.retry_after) == ("req-1", 3.0)
