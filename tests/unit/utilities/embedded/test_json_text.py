"""Documents are JSON text, whatever SQLite there is."""

from pathlib import Path

import pytest
from neosqlite._sqlite import sqlite3

from utilities.embedded.handler import DurableHandler


@pytest.mark.skipif(
    sqlite3.sqlite_version_info < (3, 45), reason="This SQLite has no JSONB"
)
def test_ids_stay_texts_and_documents_stay_json(tmp_path: Path) -> None:
    handler = DurableHandler(data_dir=str(tmp_path))
    ids = ["1e5", "100000", "0" * 23 + "1"]
    for name in ("jobs", "others"):
        body = {
            "insert": name,
            "documents": [{"_id": each, "n": 1} for each in ids],
            "$db": "m",
        }
        message = {"request_id": 1, "sections": [("body", body)]}
        assert handler.handle_insert(message)[1]["n"] == 3
        change = {"q": {"_id": "1e5"}, "u": {"$set": {"n": 2}}}
        body = {"update": name, "updates": [change], "$db": "m"}
        message = {"request_id": 1, "sections": [("body", body)]}
        assert handler.handle_command(message)[1]["n"] == 1
        rows = handler.get_database("m").db.execute(
            f"SELECT typeof(_id), typeof(data), json_extract(data, '$.n') "
            f"FROM {name} ORDER BY id"
        )
        assert rows.fetchall() == [
            ("text", "text", 2),
            ("text", "text", 1),
            ("text", "text", 1),
        ]
    handler.close_all()
