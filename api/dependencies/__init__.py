"""FastAPI dependencies: services, and who is calling."""
