"""The Delta sink: keeps one Delta table for each captured table equal to its source. See `docs/sink.md`."""
