"""The command line: serve, worker, run, demo."""
