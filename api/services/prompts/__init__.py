"""Prompts and prompt flows."""
