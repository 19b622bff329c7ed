"""Workers: the wanted state."""
