"""Metaprompting runs."""
