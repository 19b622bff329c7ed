"""Keeping and forgetting: retention by age, and erasure of a client."""
