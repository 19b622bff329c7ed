"""The metrics of a process for Prometheus: see `docs/monitoring.md`.

The logic knows only `observer`; everything else here stands behind it.
"""
