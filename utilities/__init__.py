"""What knows nothing of LLM work: time, JSON, signals, the database."""
