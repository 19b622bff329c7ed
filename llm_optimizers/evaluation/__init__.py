"""Scores prompts and models on datasets, through the queue."""
