"""Gate, breaker, concurrency limit, policies."""
