"""Grafana's dashboards, as typed Python: `python -m dashboards` writes the JSON beside it."""
