"""Request and answer formats of the providers."""
