"""Which HTTP status an error's words stand for.

Errors in a stream, and those that come with status 200, have only words.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from llm_sdks.formats.reading import items_of, number_of, section
from llm_sdks.formats.wording import problem_of, words_of

# Anthropic's own; HTTP knows no such status.
OVERLOADED = 529
# How providers word, in a body, what HTTP says by a status; without
# hyphens, underscores and spaces, for some write `TooManyRequests`.
_WORDS = (
    ("ratelimit", 429),
    ("resourceexhausted", 429),
    ("toomanyrequests", 429),
    ("overloaded", OVERLOADED),
    ("capacity", 503),
    ("unavailable", 503),
    ("authentication", 401),
    ("invalidapikey", 401),
    ("unauthenticated", 401),
    ("unauthorized", 401),
    ("permission", 403),
    ("forbidden", 403),
    ("timeout", 408),
    ("deadlineexceeded", 408),
    ("notfound", 404),
    ("toolarge", 413),
    ("invalid", 400),
    ("badrequest", 400),
    ("validation", 400),
    ("unprocessable", 422),
    ("contextlengthexceeded", 400),
    ("failedprecondition", 400),
    ("outofrange", 400),
)
# The same for messages without any code, as servers of few words send them.
_SAYINGS = (
    (r"context (length|window|size)|too many tokens", 400),
    (r"(prompt|input|request) is too (long|large)", 400),
    (r"unexpected endpoint|unknown (endpoint|url|path|route)", 404),
    (r"\bnot found\b|does not exist|no such|unknown model", 404),
    (r"model .{0,80}\bnot (loaded|supported|available)", 404),
    (r"rate.?limit|too many requests|quota", 429),
    (r"overload|\bbusy\b|try again", 503),
    (r"temporarily|unavailable|is (currently )?loading|loading model", 503),
    (r"(invalid|incorrect|missing|wrong) api.?key|unauthori[sz]ed", 401),
    (r"timed? ?out", 408),
    (r"\binvalid\b|\bunsupported\b|must be\b|is required", 400),
)
# MiniMax's numbers, which come with HTTP status 200.
_BASE_RESPONSES = {
    1001: 408,
    1002: 429,
    1004: 401,
    1008: 402,
    1026: 400,
    1027: 400,
    1039: 429,
    1041: 429,
    2013: 400,
    2045: 429,
    2049: 401,
    2056: 429,
}
FILTERED = (
    "content_filter",
    "content_policy_violation",
    "responsibleaipolicyviolation",
)
# Codes, and words, of an account that cannot pay.
_NO_MONEY = re.compile(
    r"(insufficient|not_?enough)_?(user_?|token_?|account_?)?"
    r"(quota|balance|credits?|funds)|billing|payment_?required"
    r"|credit_?(balance|limit)|exceeded_current_quota"
    r"|credits?_(exhausted|depleted)|out_?of_?(credits?|funds)|no_?credits?\b"
    r"|arrear|overdue|(budget|spend(ing)?_?limit)_?(has_been_)?exceeded"
    r"|spend(ing)?_?limit|free_?tier_?only|pre_consume_token_quota",
)
_NO_MONEY_SAID = re.compile(
    r"credit balance is too low|insufficient (account )?(balance|credit|fund)"
    r"|(out of|not enough|no more|used all( available)?) credits?\b"
    r"|balance (is )?(not enough|insufficient|exhausted|too low)"
    r"|credits (are|have been|were) (depleted|exhausted|used up)"
    r"|(no|any) credits? (left|remaining|yet)|account is in good standing"
    r"|budget has been exceeded|specified api usage limits"
    r"|top up your|recharge your|add a payment method"
    r"|余额不足|欠费|额度不足|额度已用|请充值|余額不足|残高が?不足|残高不足"
    r"|잔액이? ?부족|saldo insuficiente|cr[eé]ditos? insuficientes?"
    r"|(solde|cr[eé]dits?) insuffisants?|guthaben (ist )?(aufgebraucht"
    r"|nicht ausreichend|ersch[oö]pft)|недостаточно средств",
    re.IGNORECASE,
)
# Only where the status does not mean a wrong request.
_MONEY_SAID = re.compile(
    r"\bbilling\b|\bcredits?\b|spend(ing)? (limit|cap)|payment required"
    r"|\barrears\b|\boverdue\b|exceeded your current quota",
    re.IGNORECASE,
)
# A limit of calls or tokens a day.
_OF_A_DAY = re.compile(
    r"per[_ ]?day|daily|\b[rt]pd\b|\ba day\b", re.IGNORECASE
)
# A limit that is free again so soon is a window that moves.
_SOON_SECONDS = 60.0
# Codes of a model that a provider does not have, or no longer has.
_NO_MODEL = re.compile(
    r"model_?not_?found|model_(is_)?(decommissioned|deprecated|retired)"
    r"|deployment_?not_?found|unknown_model|model_not_exist"
)
_NO_MODEL_SAID = re.compile(
    r"^model: |\b(model|deployment)s?\b.{0,120}?\b(not (found|exist)"
    r"|(not|n't) exist|decommissioned|deprecated|retired"
    r"|no longer (available|supported|exists))",
    re.IGNORECASE,
)
# Codes, and words, of a request that is longer than the model takes.
_TOO_LONG = re.compile(
    r"context_?length_?exceeded|context_?window_?exceeded|string_above_max"
    r"|request_too_large|max_?tokens_?exceeded|tokens_limit_reached"
)
_TOO_LONG_SAID = re.compile(
    r"(maximum|model'?s?|exceeds?( the)?( model'?s)?) context "
    r"(length|window|size)|context (length|window|size) (is )?exceed"
    r"|exceeds? the (available |maximum )?context|longer than the model"
    r"|(prompt|input|request)( token count| length)?( \([^)]{0,40}\))? "
    r"(is too (long|large)|exceeds the (maximum|limit|model))"
    r"|(too many|maximum( number)? of) (input |prompt )?tokens"
    r"|reduce the length of",
    re.IGNORECASE,
)
_TOO_LONG_STATUSES = frozenset({400, 413, 422})
_MODEL_STATUSES = frozenset({400, 404, 410})
_MONEY_STATUSES = frozenset({400, 401, 403, 412, 429})
# With these, a message that only speaks of money means something else.
_OTHER_MEANINGS = frozenset({400, 401})
_ERRORS = range(400, 600)


def status_of(body: object, said: str) -> int:
    """Return the status of an error's codes, or else of its message."""
    problem, words = problem_of(body), words_of(body)
    if number := _number_in(body, problem):
        return number
    if any(word in words for word in FILTERED):
        return HTTPStatus.BAD_REQUEST
    if _NO_MONEY.search(words) or _NO_MONEY_SAID.search(said):
        return HTTPStatus.PAYMENT_REQUIRED
    plain = plain_words(words)
    for word, status in _WORDS:
        if word in plain:
            return status
    for saying, status in _SAYINGS:
        if re.search(saying, said, re.IGNORECASE):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def plain_words(words: str) -> str:
    """Return words without what providers put between them."""
    return words.replace("-", "").replace("_", "")


def lacks_money(status: int, words: str, said: str) -> bool:
    """Tell whether an error says that the account cannot pay."""
    if status not in _MONEY_STATUSES:
        return status == HTTPStatus.PAYMENT_REQUIRED
    if _NO_MONEY.search(words) or _NO_MONEY_SAID.search(said):
        return True
    if status in _OTHER_MEANINGS:
        return False
    # Google speaks of billing where a limit of a minute is met.
    is_googles_limit = "resource_exhausted" in words
    return not is_googles_limit and bool(_MONEY_SAID.search(said))


def lacks_quota(
    problem: Mapping[str, Any], said: str, seconds: float | None
) -> bool:
    """Tell whether a rate limit is one of a day.

    `seconds` is how long the provider asks to wait.
    """
    if any(_OF_A_DAY.search(quota) for quota in _quotas(problem)):
        return True  # Google asks for some seconds even so
    if seconds is not None and seconds < _SOON_SECONDS:
        return False
    return bool(_OF_A_DAY.search(said))


def lacks_model(status: int, words: str, said: str) -> bool:
    """Tell whether an error says that there is no such model."""
    if status not in _MODEL_STATUSES:
        return False
    if _NO_MODEL.search(words):
        return True
    return status != HTTPStatus.BAD_REQUEST and bool(
        _NO_MODEL_SAID.search(said)
    )


def is_too_long(status: int, words: str, said: str) -> bool:
    """Tell whether an error says that a request is too long."""
    if status not in _TOO_LONG_STATUSES:
        return False
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return True
    return bool(_TOO_LONG.search(words) or _TOO_LONG_SAID.search(said))


def _quotas(problem: Mapping[str, Any]) -> list[str]:
    """Return the ids of the quotas that Google names."""
    violations = [
        violation
        for detail in items_of(problem.get("details"))
        for violation in items_of(section(detail).get("violations"))
    ]
    ids = (section(each).get("quotaId") for each in violations)
    return [each for each in ids if isinstance(each, str)]


def _number_in(body: object, problem: Mapping[str, Any]) -> int | None:
    base = section(problem, "base_resp") or section(body, "base_resp")
    if number := number_of(base.get("status_code")):
        return _BASE_RESPONSES.get(number, HTTPStatus.INTERNAL_SERVER_ERROR)
    for name in ("code", "status", "status_code", "http_status"):
        value = problem.get(name)
        if isinstance(value, int | str) and number_of(value) in _ERRORS:
            return number_of(value)
    return None
