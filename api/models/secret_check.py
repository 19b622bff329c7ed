"""Detects a secret that was pasted where a reference belongs."""

import re

_PREFIXES = re.compile(
    # OpenAI and its kin, Groq, Google, xAI, Hugging Face, GitHub,
    # Replicate, Perplexity, Fireworks, NVIDIA, AWS, Slack, a JSON web token.
    r"(sk|pk|rk|gsk|csk|tgp|fw|esecret)[-_](?=.{12})|AIza|xai-(?=.{12})"
    r"|hf_(?=.{12})|gh[opsu]_|github_pat_|r8_(?=.{12})|pplx-(?=.{12})"
    r"|nvapi-|AKIA[0-9A-Z]{12}|xox[abp]-|eyJ[A-Za-z0-9]{8}|ya29\.",
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Parts of names are words; no word is so long and mixed.
_LONGEST_MIXED = 15
_LONGEST_WORD = 31
_LONGEST_IN_ALL = 40


def looks_secret(text: str) -> bool:
    """Tell whether a text looks like a key rather than the name of one."""
    if _PREFIXES.match(text) or _UUID.search(text):
        return True
    if len(text) > _LONGEST_IN_ALL and _kinds(text) == {"A", "a", "0"}:
        return True
    return any(_is_random(part) for part in re.split(r"[-_.]", text))


def _is_random(part: str) -> bool:
    if len(part) > _LONGEST_WORD:
        return True
    kinds = _kinds(part)
    is_mixed = "a" in kinds and "0" in kinds
    return is_mixed and len(part) > _LONGEST_MIXED


def _kinds(text: str) -> set[str]:
    return {
        "0" if letter.isdigit() else "A" if letter.isupper() else "a"
        for letter in text
        if letter.isalnum()
    }
