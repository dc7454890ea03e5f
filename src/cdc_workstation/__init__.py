"""Settings, clients and pytest fixtures for a local change-data-capture test bed."""
