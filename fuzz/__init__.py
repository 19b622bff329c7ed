"""Every path of a real server, with input that nobody thought of."""
