"""What happens when a service that a test needs is absent: skip with the reason, or fail where that is asked for."""

from __future__ import annotations

from typing import NoReturn, TypeVar

import pytest

# pytest's tracebacks end in the test.
__tracebackhide__ = True

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


def missing_extra(fixture: str, extra: str) -> NoReturn:
    """Fail the test that asked for `fixture`, because packages of an extra are not installed."""
    pytest.fail(f"{fixture} needs the extra `{extra}`: pip install 'cdc-workstation[{extra}]'", pytrace=False)


def required(request: pytest.FixtureRequest, service: str, value: T | None) -> T:
    """Return the setting `value`, or end the test where the stack has no such service."""
    if value is None:
        from cdc_workstation.settings import connection_file

        unavailable(request, service, f"neither the environment nor {connection_file()} names it")
    return value
