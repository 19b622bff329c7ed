"""The database's address, checked before anything connects."""

from pymongo.errors import ConfigurationError, PyMongoError
from pymongo.uri_parser import parse_uri

from utilities.store.schema import DatabaseError

_LOOKED_UP = "mongodb+srv://"


def check_address(connection_string: str) -> None:
    """Refuse what the driver could not read.

    Raises:
        DatabaseError: says what to do, and repeats nothing of the address:
            it contains a password.
    """
    if connection_string.startswith(_LOOKED_UP):
        # To read it takes questions to a name server.
        return
    try:
        parse_uri(connection_string, warn=True)
    except (ConfigurationError, PyMongoError, ValueError):
        raise DatabaseError(
            "DB_CONNECTION_STRING is no valid address. It has the form "
            "mongodb://user:password@host:27017/?option=value, with all "
            "special characters of user and password percent-encoded"
        ) from None
