"""Reports of runs: read from the store, written as a page of HTML."""
