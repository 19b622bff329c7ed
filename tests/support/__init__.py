"""What tests share: a live server, a provider, a client, and patience."""
