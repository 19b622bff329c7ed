"""Jobs: rules and ownership."""
