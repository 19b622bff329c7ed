"""Which model of a route is called, and which one after it."""
