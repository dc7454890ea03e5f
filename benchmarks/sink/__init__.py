"""The figures of the sink: from a commit in a source database to a row in Delta."""
