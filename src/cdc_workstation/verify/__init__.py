"""Drift detection: whether each captured table's Delta table equals its source, and the repair of one that does not."""
