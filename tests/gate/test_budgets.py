"""The stack fits on a laptop of 8 GB."""

from __future__ import annotations

import re

import pytest
from deployment import Deployment, mebibytes

OPTIONAL = {"minio", "grafana", "loki", "alloy", "zookeeper"}
CORE = re.compile(r"spark-.*|alertmanager|webhook-receiver")
UNITS = {"": 1, "MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def size(text: str) -> float:
    """Read an amount such as `6GiB` in bytes."""
    matched = re.fullmatch(r"([\d.]+)\s*(MB|GB|MiB|GiB|)", text)
    if not matched:
        raise pytest.UsageError(f"{text} is not a size: write 6GiB, 4GB or 5000MiB")
    return float(matched[1]) * UNITS[matched[2]]


def check(deployment: Deployment, counted: list[str], budget: str, option: str) -> None:
    """Fail with the list of limits where they do not stay below the budget."""
    limits = {name: deployment.services[name].memory_limit for name in counted}
    listed = ", ".join(f"{name} {mebibytes(limit)}" for name, limit in limits.items())

    assert sum(limits.values()) < size(budget), (
        f"the memory limits of {listed} are {mebibytes(sum(limits.values()))} together, not below {budget}: "
        f"lower one of the *_memory variables, or give the gate {option} on a larger machine"
    )


def test_limits_of_the_default_set_fit(deployment: Deployment, pytestconfig: pytest.Config) -> None:
    counted = [name for name in deployment.services if name not in OPTIONAL]

    check(deployment, counted, pytestconfig.getoption("--budget-all"), "--budget-all")


def test_limits_of_spark_and_alerting_fit(deployment: Deployment, pytestconfig: pytest.Config) -> None:
    counted = [name for name in deployment.services if CORE.fullmatch(name)]

    check(deployment, counted, pytestconfig.getoption("--budget-core"), "--budget-core")
