"""The database: schema, change feed, clock."""
