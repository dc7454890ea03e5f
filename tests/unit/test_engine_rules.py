"""What preflight reads from the engine's containers: whose stack this is, and whose tables."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def rules(load: Callable[[str], ModuleType]) -> Any:
    return load("roles/stack/module_utils/engine_rules.py")


def container(project: str = "", directory: str = "", *sources: str) -> dict[str, Any]:
    """What `docker inspect` says of a container, as far as the rules read it."""
    labels = {"com.docker.compose.project": project, "com.docker.compose.project.working_dir": directory}
    return {
        "Name": "/one",
        "Config": {"Labels": labels if project else None},
        "Mounts": [{"Type": "bind", "Source": source} for source in sources],
    }


def test_containers_of_this_stack_have_no_other_owner(rules: Any) -> None:
    containers = [container("mine", "/srv/mine"), container("other", "/srv/other"), container()]

    assert rules.owner_problems(containers, "mine", "/srv/mine") == []


def test_the_same_project_from_another_directory_names_it(rules: Any) -> None:
    [problem] = rules.owner_problems([container("mine", "/home/ann/stack")], "mine", "/root/stack")

    assert problem.startswith("stack_project 'mine' is running from /home/ann/stack, and stack_dir is '/root/stack'; ")
    assert "stack_project (and ports and a stack_network_subnet) of its own" in problem


@pytest.mark.parametrize("source", ["/opt/tables", "/opt/tables/warehouse"])
def test_tables_of_another_stack_are_left_alone(rules: Any, source: str) -> None:
    assert rules.table_problems([container("other", "", source)], "mine", "/opt/tables") == [
        "stack_delta_tables_dir '/opt/tables' holds the tables of the stack other; use a directory of its own."
    ]


@pytest.mark.parametrize("source", ["/opt/tables-of-others", "/opt", "volume"])
def test_other_directories_are_no_tables(rules: Any, source: str) -> None:
    assert rules.table_problems([container("other", "", source)], "mine", "/opt/tables") == []


def test_the_stacks_own_tables_are_no_problem(rules: Any) -> None:
    assert rules.table_problems([container("mine", "", "/opt/tables"), container()], "mine", "/opt/tables") == []
