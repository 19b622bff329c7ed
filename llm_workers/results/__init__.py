"""Storing results; the spool on disk."""
