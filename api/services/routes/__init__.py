"""Routes: made by the administrator, named in place of a model."""
