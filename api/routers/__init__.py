"""Paths, one file a resource: parse, call, answer."""
