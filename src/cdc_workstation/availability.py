"""What happens when a service that a test needs is absent: skip with the reason, or fail where that is asked for."""

from __future__ import annotations

from typing import NoReturn, TypeVar

import pytest

from cdc_workstation.settings import connection_file

REQUIRE_SERVICES_INI = "cdc_workstation_require_services"

T = TypeVar("T")


def unavailable(request: pytest.FixtureRequest, service: str, reason: str) -> NoReturn:
    """End the test that asked for `service`: skipped in a user's project, failed where services are required.

    Args:
        request: the fixture's request; its config says whether services are required.
        service: the service's name in the stack, for example `kafka`.
        reason: why it cannot be used, one clause.
    """
    message = f"{service} is not available: {reason}. Run `make up`, or `make status` to see what is missing."
    if request.config.getini(REQUIRE_SERVICES_INI):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def required(request: pytest.FixtureRequest, service: str, value: T | None) -> T:
    """Return the setting `value`, or end the test where the stack has no such service."""
    if value is None:
        unavailable(request, service, f"neither the environment nor {connection_file()} names it")
    return value
