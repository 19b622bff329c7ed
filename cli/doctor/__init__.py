"""`metasync doctor`: checks of a set-up, each with a remedy."""
