"""The vendors' own interfaces over the models that are configured."""
