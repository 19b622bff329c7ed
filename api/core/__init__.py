"""What every part of the interface needs: errors, logging, security."""
