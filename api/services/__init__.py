"""Rules and ownership, one file a resource; the job queue beside them."""
