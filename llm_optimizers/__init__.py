"""Optimizers that improve prompts on the same queue."""
