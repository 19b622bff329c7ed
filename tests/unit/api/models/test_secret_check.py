import secrets
import uuid

import pytest

from api.models.secret_check import looks_secret


@pytest.mark.parametrize(
    "text",
    [
        "KEY-GPT-4",
        "OPENAI_API_KEY",
        "openai-api-key",
        "GPT_4_KEY",
        "AZURE-OPENAI-KEY-2024-10-21",
        "MY_COMPANY_PRODUCTION_AZURE_OPENAI_EAST_US_2_KEY",
        "my.team.gpt-4o-mini.key",
        "at-once-12-a1b2c3_KEY",
        "SK-LEARN-KEY",
        "claude-sonnet-4-5-20250929",
        "hf_key",
    ],
)
def test_a_reference_is_none(text: str) -> None:
    assert not looks_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-a1b2c3d4e5f6g7h8i9j0",
        "sk-ant-api03-abcdefgh-ijklmnop",
        "sk-cases-and-more-words",
        "gsk_abcdefghijklmnop",
        "AIzaSyA-1234567890abcdefghijklmnopqrstu",
        "xai-abcdefghijklmnopqrst",
        "hf_abcdefghijklmnopqrst",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        pytest.param(secrets.token_hex(16), id="32 hex digits"),
        pytest.param(secrets.token_hex(32), id="64 hex digits"),
        pytest.param(str(uuid.uuid4()), id="a UUID"),
        "A" * 64,
        "Kj8sLq2mNv5pRt7wXz9bCd3fGh6jKm1n",
    ],
)
def test_a_secret_is_told(text: str) -> None:
    assert looks_secret(text)
