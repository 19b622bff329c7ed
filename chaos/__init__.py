"""Thousands of jobs while everything that can fail does: `make chaos`."""
