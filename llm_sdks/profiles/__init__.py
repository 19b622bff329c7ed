"""What models support: said, learnt from refusals, known by name."""
