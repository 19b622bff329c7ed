"""Measurements; no part of the tests. `make bench` runs them."""
