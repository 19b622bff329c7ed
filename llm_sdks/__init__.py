"""Plug-ins, one file a provider."""
