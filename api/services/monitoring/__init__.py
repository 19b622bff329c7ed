"""What a process tells Prometheus about itself: see `docs/monitoring.md`.

The logic knows only `observer`; everything else here stands behind it.
"""
