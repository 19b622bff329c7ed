"""Streams: rules, ownership, records."""
