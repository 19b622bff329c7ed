"""Who may read the metrics: one rule for every port that shows them."""

from dataclasses import dataclass

from api.core import security
from api.core.errors import AuthenticationError, WrongKeyError
from api.core.login_limits import LoginLimits

NEEDED = "The metrics token or the admin API key is required"
WRONG_TOKEN = "Invalid metrics token"  # noqa: S105 - a message
_TOKEN = "metrics"  # noqa: S105 - a name
_SCHEME = "bearer"


@dataclass(frozen=True)
class ScrapeAccess:
    """The metrics' own token, if there is one, and the other ways in."""

    admin_api_key: str
    logins: LoginLimits
    token: str | None = None
    is_public: bool = False

    def check(
        self, authorization: str | None, admin_key: str | None, address: str
    ) -> None:
        """Let pass who may read the metrics.

        `authorization` and `admin_key` are the headers' values. A wrong
        credential is refused even where none is needed.

        Raises:
            AuthenticationError: none came, or a wrong one.
            TooManyFailedLoginsError: too many wrong ones came before.
        """
        token = _bearer(authorization)
        if token is not None:
            is_right = self.token is not None and security.same(
                token, self.token
            )
            self._judge(_TOKEN, address, WRONG_TOKEN, is_right=is_right)
        if admin_key is not None:
            is_right = security.same(admin_key, self.admin_api_key)
            message = "Invalid admin API key"
            self._judge(security.ADMIN, address, message, is_right=is_right)
        elif token is None and not self.is_public:
            raise AuthenticationError(NEEDED)

    def _judge(
        self, secret: str, address: str, message: str, *, is_right: bool
    ) -> None:
        self.logins.check(secret, address)
        if not is_right:
            self.logins.failed(address)
            raise WrongKeyError(message)
        self.logins.succeeded(secret, address)


def _bearer(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None
