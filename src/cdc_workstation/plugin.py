"""The pytest plugin: fixtures over the running stack, for this repository's suite and for a user's own project.

Modules that it loads import their clients within fixtures, so that projects that use none of them pay nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cdc_workstation.availability import REQUIRE_SERVICES_INI

if TYPE_CHECKING:
    from cdc_workstation.settings import Settings

pytest_plugins = [
    "cdc_workstation.evidence",
    "cdc_workstation.fixtures.alertmanager",
    "cdc_workstation.fixtures.kafka",
    "cdc_workstation.fixtures.mysql",
    "cdc_workstation.fixtures.pipeline",
    "cdc_workstation.fixtures.load",
    "cdc_workstation.fixtures.postgres",
    "cdc_workstation.fixtures.connectors",
    "cdc_workstation.fixtures.spark",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the plugin's ini option."""
    parser.addini(
        REQUIRE_SERVICES_INI,
        help="fail, rather than skip, tests whose service is absent",
        type="bool",
        default=False,
    )


@pytest.fixture(scope="session")
def stack_settings() -> Settings:
    """Addresses and credentials of the stack, from `connection.env` and the environment."""
    from cdc_workstation.settings import get_settings

    return get_settings()
