"""The gate: what must be true of the stack on the hosts of an inventory.

    pytest tests/gate --hosts=ansible://workstation --ansible-inventory=inventories/laptop

Tests take `deployment` (one a host) or `service` (one a rendered service of a host).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator

import pytest
import testinfra
from deployment import BrokenError, Deployment, Options, Service

DEPLOYMENTS = pytest.StashKey[list[Deployment]]()
LOGGED = pytest.StashKey[set[str]]()
YOURS = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gate")
    group.addoption(
        "--stack-dir",
        default=os.environ.get("CDC_STACK_DIR", ""),
        help="the stack's directory on the target [CDC_STACK_DIR, or ~/.local/share/cdc-workstation]",
    )
    group.addoption(
        "--gate-seconds",
        type=float,
        default=30,
        help="how long services may take, all together, to be healthy [30]",
    )
    group.addoption(
        "--budget-all",
        default="6GiB",
        help="what the memory limits of all services of the default set and PostgreSQL stay below [6GiB]",
    )
    group.addoption(
        "--budget-core",
        default="4GB",
        help="what those of Spark, Alertmanager and the webhook receiver stay below [4GB]",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only(*services): the test is about these services alone")
    # A person reads the result: checks in their order, each red one once.
    config.option.randomly_reorganize = False
    config.option.reportchars = ""


def deployments(config: pytest.Config) -> list[Deployment]:
    """Return what is deployed on the hosts that were named; ask them once."""
    if DEPLOYMENTS not in config.stash:
        options = Options(stack_dir=config.getoption("--stack-dir"), seconds=config.getoption("--gate-seconds"))
        hosts = testinfra.get_hosts(
            (config.option.hosts or "local://").split(","),
            connection=config.option.connection,
            ssh_config=config.option.ssh_config,
            ssh_identity_file=config.option.ssh_identity_file,
            sudo=config.option.sudo,
            sudo_user=config.option.sudo_user,
            ansible_inventory=config.option.ansible_inventory,
            force_ansible=config.option.force_ansible,
        )
        if not hosts:
            raise BrokenError(f"{config.option.hosts} names no host of {config.option.ansible_inventory}.")
        config.stash[DEPLOYMENTS] = [
            Deployment(host, host.backend.get_variables() if host.backend.NAME == "ansible" else {}, options)
            for host in hosts
        ]
    return config.stash[DEPLOYMENTS]


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Look at the hosts first: where there is nothing to look at, one sentence says so."""
    try:
        deployments(session.config)
    except BrokenError as error:
        raise pytest.UsageError(f"The gate is red. {error}") from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once a host or once a service, under the service's name."""
    if not {"deployment", "service"} & set(metafunc.fixturenames):
        return
    found = deployments(metafunc.config)

    def name(deployment: Deployment, service: str = "") -> str:
        return "-".join(filter(None, [deployment.name if len(found) > 1 else "", service])) or "workstation"

    if "deployment" in metafunc.fixturenames:
        metafunc.parametrize("deployment", found, ids=[name(one) for one in found])
    else:
        only = {service for mark in metafunc.definition.iter_markers("only") for service in mark.args}
        services = [s for one in found for s in one.services.values() if not only or s.name in only]
        metafunc.parametrize("service", services, ids=[name(s.deployment, s.name) for s in services])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests about services that this stack has not."""
    absent = [item for item in items if item.get_closest_marker("only") and not hasattr(item, "callspec")]
    absent += [item for item in items if getattr(item, "callspec", None) and "NOTSET" in item.callspec.id]
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if item not in absent]


@pytest.fixture(scope="session")
def other_deployments(request: pytest.FixtureRequest) -> list[Deployment]:
    """What is deployed on all hosts: services of one may work for another."""
    return deployments(request.config)


@pytest.fixture
def yours(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Note what is wrong with something that the user made: it makes the gate red no more than it is waited for."""
    return request.config.stash.setdefault(YOURS, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell the stack's own state from what the user made: the verdict's last line is the stack's."""
    for line in config.stash.get(YOURS, []):
        terminalreporter.write_line(f"yours: {line}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say what is wrong rather than where it was found, and show the last log lines of the services it is about."""
    report = yield
    if (
        not report.failed
        or call.excinfo is None
        or not call.excinfo.errisinstance((AssertionError, pytest.fail.Exception))
    ):
        return report
    # What pytest adds to an assertion's message speaks of this code.
    message = report.longrepr = str(call.excinfo.value).partition("\nassert ")[0]
    subject = getattr(item, "callspec", None) and item.callspec.params.get("service")
    if isinstance(subject, Service):
        logged = item.config.stash.setdefault(LOGGED, set())
        for name, service in subject.deployment.services.items():
            if name not in logged and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", message):
                logged.add(name)
                report.sections.append((f"the last log lines of {name}", service.last_log_lines()))
    return report
