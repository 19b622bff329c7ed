"""Which credential of a model a call takes."""
