"""What runs for all clients without a worker of theirs."""
