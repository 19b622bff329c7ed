"""The audit: who has changed what, and what was refused."""
