"""The interfaces of Anthropic."""
