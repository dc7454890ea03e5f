"""The fixtures of `cdc_workstation.plugin` for all tests of this repository."""

from __future__ import annotations

import pytest

# For tests of the plugin itself.
pytest_plugins = ["pytester"]
# Tests of a contract are no test module by their name, and should fail as legibly.
pytest.register_assert_rewrite("tests.writer_contract")


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin where its entry point has not: the package is on the path, but not installed."""
    if not config.pluginmanager.has_plugin("cdc_workstation"):
        from cdc_workstation import plugin

        config.pluginmanager.register(plugin, "cdc_workstation")
