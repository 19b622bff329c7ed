"""One call to a model, whole or streamed."""
