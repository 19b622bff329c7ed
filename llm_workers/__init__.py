"""Workers: threads that take jobs from the queue and run them."""
