import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ({"code": "DeploymentNotFound"}, errors.ModelNotFoundError),
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


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"detail": "limit of 4096"}, "limit of 4096"),
        (
            {"detail": [{"loc": ["body", "top_k"], "msg": "not permitted"}]},
            "top_k: not permitted",
        ),
        (
            {"message": {"detail": [{"loc": ["body", "n"], "msg": "no"}]}},
            "n: no",
        ),
        ({"detail": {"message": "so it is"}}, "so it is"),
        ({"errors": [{"message": "one"}, {"message": "two"}]}, "one; two"),
        ({"error": {"message": '{"error": {"message": "inner"}}'}}, "inner"),
        (
            {
                "error": {
                    "message": "Provider returned error",
                    "metadata": {"raw": '{"error": {"message": "inner"}}'},
                }
            },
            "Provider returned error; inner",
        ),
        (
            {
                "error": {
                    "message": "outer",
                    "innererror": {"message": "inner"},
                }
            },
            "outer; inner",
        ),
        ({"base_resp": {"status_code": 7, "status_msg": "said"}}, "said"),
        ("Payload too large: 1 MB", "Payload too large: 1 MB"),
        (
            "<html><style>p {}</style><title>413</title><p>Too&nbsp;large",
            "413 Too large",
        ),
        ({"msg": "so it is"}, "so it is"),
    ],
)
def test_the_providers_words_are_found_in_every_form(
    body: object, text: str
) -> None:
    assert str(failures.of_status(400, {}, body, KEY)) == f"HTTP 400: {text}"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (402, errors.AccountExhaustedError),
        (418, errors.BadRequestError),
        (424, errors.ProviderError),
        (425, errors.ProviderError),
        (498, errors.OverloadedError),
        (499, errors.ProviderError),
        (520, errors.ProviderError),
        (524, errors.ProviderError),
        (529, errors.OverloadedError),
        (599, errors.ProviderError),
    ],
)
def test_odd_statuses_have_their_class(
    status: int, kind: type[errors.LLMError]
) -> None:
    assert type(failures.of_status(status, {}, None, KEY)) is kind


@pytest.mark.parametrize(
    ("status", "problem", "exhausted"),
    [
        (429, {"code": "insufficient_quota"}, True),
        (429, {"type": "exceeded_current_quota_error"}, True),
        (429, {"message": "You have used all available credits"}, True),
        (400, {"message": "Your credit balance is too low to access"}, True),
        (403, {"message": "This method requires billing to be enabled"}, True),
        (403, {"message": "Your team doesn't have any credits yet"}, True),
        (429, {"code": "1113", "message": "余额不足或无可用资源包"}, True),
        (402, {"message": "Insufficient Balance"}, True),
        # Google says so of every limit, those of a minute too.
        (
            429,
            {
                "status": "RESOURCE_EXHAUSTED",
                "message": "You exceeded your current quota, please check "
                "your plan and billing details",
            },
            False,
        ),
        (429, {"message": "slow down"}, False),
        # The words of a request are quoted.
        (400, {"message": "invalid value 'credit card billing'"}, False),
        (403, {"message": "not your project"}, False),
        (401, {"message": "no billing"}, False),
        (500, {"message": "billing service is down"}, False),
    ],
)
def test_an_account_that_cannot_pay_is_told_from_a_limit(
    status: int, problem: dict[str, Any], *, exhausted: bool
) -> None:
    error = failures.of_status(status, {}, {"error": problem}, KEY)
    assert isinstance(error, errors.AccountExhaustedError) is exhausted
    if exhausted:
        assert (error.retryable, error.retry_after) == (True, None)


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        ({"error": "Unexpected endpoint or method."}, True),
        ({"error": None, "choices": []}, False),
        ({"object": "error", "message": "no"}, True),
        ({"type": "error", "error": {}}, True),
        ([{"error": {"code": 400}}], True),
        ({"base_resp": {"status_code": 1002, "status_msg": "limit"}}, True),
        ({"base_resp": {"status_code": 0}, "choices": []}, False),
        ({"detail": "no"}, True),
        ({"message": "no"}, True),
        ({"type": "message_start", "message": {}}, False),
        ({"choices": [], "message": "hello"}, False),
        ({"candidates": []}, False),
        ({"type": "ping"}, False),
        ({}, False),
        (None, False),
        ([], False),
    ],
)
def test_a_failure_under_200_is_told_from_an_answer(
    body: object, *, failed: bool
) -> None:
    is_failure = failures.is_failure(body) or failures.is_complaint(body)
    assert is_failure is failed


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (
            {"error": "Unexpected endpoint or method. (POST /x)"},
            errors.BadRequestError,
        ),
        (
            {
                "object": "error",
                "code": 40303,
                "message": "This model's maximum context length is 4096",
            },
            errors.ContextTooLongError,
        ),
        ({"error": "model is loading"}, errors.OverloadedError),
        (
            {"base_resp": {"status_code": 1002, "status_msg": "x"}},
            errors.RateLimitedError,
        ),
        (
            {"base_resp": {"status_code": 1008, "status_msg": "x"}},
            errors.AccountExhaustedError,
        ),
        (
            {"base_resp": {"status_code": 1000, "status_msg": "x"}},
            errors.ProviderError,
        ),
        (
            {"error": {"message": "Rate limit reached"}},
            errors.RateLimitedError,
        ),
    ],
)
def test_a_failure_under_200_is_known_by_what_it_says(
    body: object, kind: type[errors.LLMError]
) -> None:
    assert type(failures.in_body(body, {}, KEY)) is kind


def test_a_failed_generation_keeps_what_was_generated() -> None:
    problem = {"code": "json_validate_failed", "failed_generation": '{"a":'}
    error = failures.of_status(400, {}, {"error": problem}, KEY)
    assert type(error) is errors.FailedGenerationError
    assert error.partial_text == '{"a":'


def test_a_path_that_is_not_found_is_told() -> None:
    error = failures.of_answer(404, {}, b"no", KEY, "/v1/x")
    assert str(error) == "HTTP 404: no (POST /v1/x)"


def test_whatever_looks_like_a_key_is_not_quoted() -> None:
    said = "Incorrect key sk-proj-abcd1234****wxyz for Bearer abcdefgh12"
    error = failures.of_status(400, {}, {"error": said}, KEY)
    assert str(error) == "HTTP 400: Incorrect key [key] for Bearer [key]"


def test_an_unreadable_answer_keeps_the_beginning_of_what_came() -> None:
    content = b"<p>" + KEY.encode() + b"x" * 40_000 + KEY.encode()
    error = failures.unreadable("answer", KEY, content=content)
    assert error.partial_text.startswith("<p>[key]xxx")
    assert 30_000 < len(error.partial_text) <= 32_768
    edge = b"x" * (32_768 - 10) + KEY.encode()
    error = failures.unreadable("answer", KEY, content=edge)
    assert KEY[:4] not in error.partial_text


WORDS = st.sampled_from(
    [
        *("error", "message", "detail", "errors", "loc", "msg", "code"),
        *("type", "status", "metadata", "raw", "innererror", "details"),
        *("base_resp", "status_code", "param", "failed_generation", "reason"),
    ]
)
TEXTS = (
    st.text()
    | st.sampled_from([KEY, f"<b>{KEY[:9]}</b>{KEY[9:]}", "temperature"])
    | st.text().map(lambda text: f"{text}{KEY}{text}")
    | st.text().map(lambda text: json.dumps({"error": f"{text}{KEY}"}))
)
BODIES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(1, 5000).map(lambda digits: 10**digits)
    | st.floats()
    | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | TEXTS, inner, max_size=5)
    ),
)


@given(BODIES, st.integers(300, 999), TEXTS)
def test_no_body_breaks_the_reader_or_gives_the_key_away(
    body: Any, status: int, header: str
) -> None:
    headers = {"x-request-id": header, "retry-after": header}
    for error in (
        failures.of_status(status, headers, body, KEY),
        failures.in_body(body, headers, KEY),
        failures.unreadable("answer", KEY, content=repr_of(body)),
    ):
        kept = f"{error!r}{error.request_id}{error.partial_text}"
        assert KEY not in kept
        assert kept.encode()
        assert len(str(error)) < 1100
    failures.is_failure(body)
    failures.is_complaint(body)


@given(st.binary(), st.integers(300, 999))
def test_no_bytes_break_the_reader(content: bytes, status: int) -> None:
    error = failures.of_answer(status, {}, content, KEY)
    assert str(error).encode()


def repr_of(body: object) -> str:
    """Write a body as text; huge numbers cannot be written."""
    try:
        return repr(body)
    except ValueError:
        return KEY


@pytest.mark.parametrize(
    "body",
    [
        {"Message": "so it is"},
        {"Error": {"Code": "X", "Message": "so it is"}},
        {"fault": {"faultstring": "so it is"}},
        {"errorMessage": "so it is"},
        {"error_info": {"msg": "so it is"}},
        {"success": False, "data": {"message": "so it is"}},
        {"response": {"error": {"message": "so it is"}}},
        {"error": {"anything": "so it is"}},
        {"invalid_params": [{"name": "x", "reason": "so it is"}]},
    ],
)
def test_words_under_other_names_are_found(body: object) -> None:
    assert str(failures.of_status(400, {}, body, KEY)) == "HTTP 400: so it is"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "Access denied", "code": "Arrearage"}}),
        (400, {"code": "Arrearage", "message": "Access denied"}),
        (403, {"Error": {"Code": "AccountOverdueError", "Message": "no"}}),
        (403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE"}),
        (403, {"code": "AllocationQuota.FreeTierOnly", "message": "free"}),
        (401, {"error": {"code": "insufficient_quota", "message": "none"}}),
        (403, {"error": {"code": "insufficient_user_quota"}}),
        (400, {"error": {"type": "budget_exceeded", "message": "over"}}),
        (400, {"error": {"code": "spend_limit_reached"}}),
        (412, {"error": "suspended: reaching the monthly spending limit"}),
        (429, {"error": {"code": "1113", "message": "您的账户已欠费"}}),
        (403, {"error": {"message": "用户额度不足"}}),
        (429, {"error": {"message": "残高が不足しています"}}),
        (403, {"error": {"message": "Saldo insuficiente"}}),
        (403, {"error": {"message": "Crédits insuffisants"}}),
        (403, {"error": {"message": "Ihr Guthaben ist aufgebraucht"}}),
        (
            403,
            {"error": {"message": "Your team doesn't have any credits yet"}},
        ),
        (402, "Paiement requis"),
    ],
)
def test_an_account_that_cannot_pay_is_known_in_many_words(
    status: int, body: object
) -> None:
    error = failures.of_status(status, {}, body, KEY)
    assert type(error) is errors.AccountExhaustedError


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": "check your billing"}, errors.NotAuthorizedError),
        (400, {"error": "billing text in a prompt"}, errors.BadRequestError),
        (501, {"error": "not implemented"}, errors.BadRequestError),
        (412, {"error": "precondition"}, errors.BadRequestError),
    ],
)
def test_other_failures_are_not_taken_for_a_lack_of_money(
    status: int, body: object, kind: type[errors.LLMError]
) -> None:
    assert type(failures.of_status(status, {}, body, KEY)) is kind


def test_the_fields_that_are_wrong_are_named() -> None:
    field = {"loc": ["body", "temperature"], "msg": "not permitted"}
    body = {"error": {"message": "invalid input", "details": [field]}}
    error = failures.of_status(400, {}, body, KEY)
    assert str(error) == "HTTP 400: invalid input; temperature: not permitted"


@pytest.mark.parametrize(
    "quoted", ["abc/def+ghi=jkl", "abc%2Fdef%2Bghi%3Djkl", "bearer abcdefghij"]
)
def test_a_key_within_an_address_is_not_quoted(quoted: str) -> None:
    body = {"error": f"no such place: http://x.example/?key={quoted}"}
    said = str(failures.of_status(400, {}, body, "abc/def+ghi=jkl"))
    assert "abc" not in said
    assert "[key]" in said


@pytest.mark.parametrize(
    ("status", "problem", "headers", "kind"),
    [
        (
            429,
            {"message": "Rate limit reached on requests per day (RPD)"},
            {},
            errors.QuotaExhaustedError,
        ),
        (
            429,
            {"message": "on tokens per day (TPD). Try again in 2h3m"},
            {},
            errors.QuotaExhaustedError,
        ),
        # A window that moves: there is room again soon.
        (
            429,
            {"message": "on requests per day (RPD). Try again in 8.6s"},
            {},
            errors.RateLimitedError,
        ),
        (
            429,
            {
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {"violations": [{"quotaId": "RequestsPerDayPerProject"}]},
                    {"retryDelay": "17s"},
                ],
            },
            {},
            errors.QuotaExhaustedError,
        ),
        (
            429,
            {"message": "on requests per min (RPM)"},
            {},
            errors.RateLimitedError,
        ),
    ],
)
def test_a_quota_of_a_day_is_told_from_a_limit(
    status: int,
    problem: dict[str, Any],
    headers: dict[str, str],
    kind: type[errors.LLMError],
) -> None:
    error = failures.of_status(status, headers, {"error": problem}, KEY)
    assert type(error) is kind


@pytest.mark.parametrize(
    ("status", "problem", "gone"),
    [
        (404, {"code": "model_not_found", "message": "no"}, True),
        (404, {"message": "The model `gpt-9` does not exist"}, True),
        (404, {"type": "not_found_error", "message": "model: x-1"}, True),
        (404, {"message": "models/g-1 is not found for v1beta"}, True),
        (404, {"code": "DeploymentNotFound"}, True),
        (410, {"message": "This model has been retired"}, True),
        (400, {"code": "model_decommissioned"}, True),
        (400, {"message": "The model does not exist in this prompt"}, False),
        (404, {"message": "nothing here"}, False),
        (500, {"code": "model_not_found"}, False),
    ],
)
def test_a_model_that_is_gone_is_told_from_a_wrong_request(
    status: int, problem: dict[str, Any], *, gone: bool
) -> None:
    error = failures.of_status(status, {}, {"error": problem}, KEY)
    assert isinstance(error, errors.ModelNotFoundError) is gone
