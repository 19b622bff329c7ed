"""Events as they happen, for those who watch: see `hub`."""
