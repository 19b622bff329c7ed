"""How a run looks for better prompts; pure, without clock or database."""
