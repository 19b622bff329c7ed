"""Who may read the metrics: one rule for every port that shows them."""

from dataclasses import dataclass

from api.core import security
from api.core.errors import AuthenticationError

NEEDED = "The metrics token or the admin API key is required"
WRONG_TOKEN = "Invalid metrics token"  # noqa: S105 - a message
_SCHEME = "bearer"


@dataclass(frozen=True)
class ScrapeAccess:
    """The metrics' own token, if there is one, and the other ways in."""

    admin_api_key: str
    token: str | None = None
    is_public: bool = False

    def check(self, authorization: str | None, admin_key: str | None) -> None:
        """Let pass who may read the metrics.

        `authorization` and `admin_key` are the headers' values. A wrong
        credential is refused even where none is needed.

        Raises:
            AuthenticationError: none came, or a wrong one.
        """
        token = _bearer(authorization)
        if token is not None and not self._is_token(token):
            raise AuthenticationError(WRONG_TOKEN)
        if admin_key is not None:
            if not security.same(admin_key, self.admin_api_key):
                raise AuthenticationError("Invalid admin API key")
            return
        if token is None and not self.is_public:
            raise AuthenticationError(NEEDED)

    def _is_token(self, sent: str) -> bool:
        return self.token is not None and security.same(sent, self.token)


def _bearer(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None
