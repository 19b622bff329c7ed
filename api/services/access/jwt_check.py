"""Checks JSON Web Tokens that an OpenID Connect provider has signed.

Only what the settings name is believed: the issuer, the audience and the
algorithms. Keys come from the provider's own set; a key, or the address of
one, in a token's header is never used (RFC 8725).
"""

from collections.abc import Sequence
from typing import Final

import jwt

from api.core.errors import WrongKeyError
from api.services.access.claims import Claims
from api.services.access.provider_keys import ProviderKeys, SigningKey

WRONG_TOKEN: Final = "Invalid bearer token"  # noqa: S105 - a message
LONGEST_TOKEN: Final = 16 * 1024
_LONGEST_KEY_ID = 256
_LONGEST_SUBJECT = 255
_REQUIRED = ("exp", "iss", "aud", "sub")
# Those of RFC 7518 and 8037 with a key that may be public.
ALGORITHMS: Final[dict[str, str]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512"), "RSA"),
    **dict.fromkeys(("PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}


class WrongTokenError(WrongKeyError):
    """A token is not believed; the message does not tell why."""

    def __init__(self) -> None:
        super().__init__(WRONG_TOKEN)


class TokenCheck:
    """Checks the tokens of one provider."""

    def __init__(
        self,
        keys: ProviderKeys,
        algorithms: Sequence[str],
        leeway_seconds: float,
    ) -> None:
        self._keys = keys
        self._algorithms = frozenset(algorithms) & ALGORITHMS.keys()
        self._leeway = leeway_seconds

    async def claims_of(self, token: str, audience: str) -> Claims:
        """Return the claims of a token for this audience.

        Raises:
            WrongTokenError: it is not believed.
            ProviderUnavailableError: there are no keys to check it by.
        """
        algorithm, key_id = self._header_of(token)
        for key in await self._keys.find(key_id):
            if not _fits(key, algorithm):
                continue
            try:
                return self._decoded(token, key, algorithm, audience)
            except jwt.InvalidSignatureError:
                # Without a name, one of the other keys may be meant.
                continue
            except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
                break
        raise WrongTokenError

    def _header_of(self, token: str) -> tuple[str, str | None]:
        """Return the algorithm and the key's name that a token asks for."""
        if len(token) > LONGEST_TOKEN or not token.isascii():
            raise WrongTokenError
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise WrongTokenError from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        # What must be understood (RFC 7515, 4.1.11): we understand none.
        if not isinstance(algorithm, str) or "crit" in header:
            raise WrongTokenError
        if algorithm not in self._algorithms:
            raise WrongTokenError
        if key_id is not None and not (
            isinstance(key_id, str) and 0 < len(key_id) <= _LONGEST_KEY_ID
        ):
            raise WrongTokenError
        return algorithm, key_id

    def _decoded(
        self, token: str, key: SigningKey, algorithm: str, audience: str
    ) -> Claims:
        claims = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            audience=audience,
            issuer=self._keys.issuer,
            leeway=self._leeway,
            options={"require": list(_REQUIRED)},
        )
        if not is_subject(claims["sub"]):
            raise WrongTokenError
        return claims


def is_subject(found: object) -> bool:
    """Tell whether a claim can name somebody."""
    return (
        isinstance(found, str)
        and 0 < len(found) <= _LONGEST_SUBJECT
        and found.isprintable()
    )


def _fits(key: SigningKey, algorithm: str) -> bool:
    if ALGORITHMS[algorithm] != key.kind:
        return False
    return key.algorithm is None or key.algorithm == algorithm
