"""Checked with the service's own signatures, and with the standard's."""

import datetime as dt
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from api.services.webhooks.signing import Signer
from metasync import ConfigurationError, SignatureError, WebhookVerifier
from tests.support.examples import examples

SIGNER = Signer("pepper")
SECRET = SIGNER.secret("id", "salt")
BODY = '{"type": "job.processed", "data": {"jobId": "1"}}'


def signed(body: str = BODY, seconds: int = 0) -> dict[str, str]:
    moment = int(time.time()) + seconds
    return SIGNER.headers("id", "salt", ("event", moment, body))


def test_a_message_of_the_service_is_read() -> None:
    message = WebhookVerifier(SECRET).verify(BODY, signed())
    assert message == json.loads(BODY)
    upper = {name.title(): value for name, value in signed().items()}
    assert WebhookVerifier(SECRET).verify(BODY.encode(), upper) == message


def test_it_agrees_with_the_standards_own_library() -> None:
    now = dt.datetime.now(dt.UTC)
    signature = Webhook(SECRET).sign("m", now, BODY)
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": f"v1,AAAA {signature}",
    }
    assert WebhookVerifier(SECRET).verify(BODY, headers)


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (BODY + " ", {}),
        (BODY, {"webhook-id": "other"}),
        (BODY, {"webhook-timestamp": str(int(time.time()) + 1)}),
        (BODY, {"webhook-signature": "v1,AAAA"}),
        (BODY, {"webhook-signature": ""}),
        (BODY, {"webhook-timestamp": "soon"}),
        (BODY, {"webhook-timestamp": "9" * 5000}),
    ],
    ids=["body", "id", "time", "signature", "none", "no-time", "long-time"],
)
def test_a_message_that_was_changed_is_refused(
    body: str, change: dict[str, str]
) -> None:
    with pytest.raises(SignatureError):
        WebhookVerifier(SECRET).verify(body, {**signed(), **change})


def test_another_version_of_a_good_signature_is_refused() -> None:
    headers = signed()
    headers["webhook-signature"] = "v2" + headers["webhook-signature"][2:]
    with pytest.raises(SignatureError):
        WebhookVerifier(SECRET).verify(BODY, headers)


@pytest.mark.parametrize("seconds", [-400, 400], ids=["old", "future"])
def test_a_message_of_another_time_is_refused(seconds: int) -> None:
    headers = signed(seconds=seconds)
    with pytest.raises(SignatureError, match="just now"):
        WebhookVerifier(SECRET).verify(BODY, headers)
    # Control: it is the time, and nothing else.
    assert WebhookVerifier(SECRET, tolerance=500).verify(BODY, headers)


def test_only_a_secret_is_taken_for_one() -> None:
    for wrong in ("", "whsec_", "whsec_not base64!"):
        with pytest.raises(ConfigurationError):
            WebhookVerifier(wrong)
    other = WebhookVerifier(SIGNER.secret("other", "salt"))
    with pytest.raises(SignatureError):
        other.verify(BODY, signed())


@settings(max_examples=examples(100))
@given(st.binary(max_size=50), st.dictionaries(st.text(), st.text()))
def test_nothing_else_passes_or_breaks_it(
    body: bytes, headers: dict[str, str]
) -> None:
    known = {**signed(), **headers}
    with pytest.raises(SignatureError):
        WebhookVerifier(SECRET).verify(body, known)
