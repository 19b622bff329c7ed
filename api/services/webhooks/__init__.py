"""Webhooks: events are kept, signed and delivered."""
