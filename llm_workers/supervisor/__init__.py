"""Which workers run in this process."""
