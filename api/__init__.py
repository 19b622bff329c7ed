"""The HTTP interface and its rules."""
