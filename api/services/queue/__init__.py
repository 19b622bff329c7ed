"""The job queue: claim, lease, complete, release."""
