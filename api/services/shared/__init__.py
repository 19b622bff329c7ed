"""What several services need: callers, pages, documents by id."""
