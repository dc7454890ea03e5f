"""Measurements of the running stack: `make bench`."""
