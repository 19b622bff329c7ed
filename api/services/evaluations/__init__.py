"""Evaluations of prompts and models on datasets."""
