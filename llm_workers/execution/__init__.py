"""What a worker does with a claimed job."""
