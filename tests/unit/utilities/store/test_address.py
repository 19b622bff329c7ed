import pytest

from utilities.store.address import check_address
from utilities.store.schema import DatabaseError


@pytest.mark.parametrize(
    "address",
    [
        "mongodb://localhost",
        "mongodb://u:p%40w@a:1,b:2/db?replicaSet=r&authSource=admin",
        "mongodb+srv://cluster.example.com/db",
    ],
)
def test_addresses(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "mongodb://",
        "mongodb://host:port",
        "mongodb://u:hu@sh@host",
        "mongodb://hush:[host",
        "mongodb://h:99999999",
    ],
)
def test_what_is_no_address_is_told_without_it(address: str) -> None:
    with pytest.raises(DatabaseError, match="DB_CONNECTION_STRING") as told:
        check_address(address)
    assert "hush" not in str(told.value)
    assert "hu@sh" not in str(told.value)
