"""The interfaces of OpenAI."""
