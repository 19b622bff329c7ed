"""Measures the optimizer beside its peers: `make bench-optimizer`."""
