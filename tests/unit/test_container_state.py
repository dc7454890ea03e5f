"""Which containers are repaired: those that do not run what the files say, and no others."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

NETWORK = "b2703b38"
FILES = (8, 100)


@pytest.fixture(scope="module")
def state(load: Callable[[str], ModuleType]) -> Any:
    return load("roles/compose_project/module_utils/container_state.py")


@pytest.fixture(scope="module")
def container(state: Any) -> Any:
    """Return a container that was started at 1000, whose configuration is as old as 900."""

    def container(*, mount: dict[str, Any] | None = None, **other: Any) -> Any:
        directory = {"destination": "/etc/kafka", "inside": FILES, "outside": FILES, "configures": True, "changed": 900}
        given = {
            "service": "kafka",
            "running": True,
            "started": 1000,
            "reloads": False,
            "networks": frozenset({NETWORK}),
            "on_host": False,
            "mounts": (state.Mount(**(directory | (mount or {}))),),
        }
        return state.Container(**(given | other))

    return container


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({}, ""),
        ({"networks": frozenset({"removed"})}, "its network was removed"),
        ({"networks": frozenset({"removed"}), "running": False}, "its network was removed"),
        ({"networks": frozenset()}, "it is attached to no network"),
        ({"networks": frozenset(), "on_host": True}, ""),
        ({"mount": {"outside": (8, 101)}}, "/etc/kafka was replaced on the host"),
        ({"mount": {"outside": None}}, "/etc/kafka was replaced on the host"),
        ({"mount": {"outside": (8, 101)}, "running": False}, ""),
        # Of a container that nobody may look into nothing is known.
        ({"mount": {"outside": (8, 101), "inside": None}}, ""),
        ({"mount": {"outside": (8, 101), "same": True}}, ""),
        ({"mount": {"changed": 1001}}, "its configuration changed after it was started"),
        ({"mount": {"changed": 1001}, "running": False}, ""),
        ({"mount": {"changed": 1001, "configures": False}}, ""),
        ({"mount": {"changed": 1001}, "reloads": True}, ""),
    ],
)
def test_a_container_is_recreated_for_a_reason(state: Any, container: Any, broken: dict[str, Any], why: str) -> None:
    assert state.recreation(container(**broken), frozenset({NETWORK, "another"})) == why


@pytest.mark.parametrize(
    ("changed", "loaded", "successful", "due"),
    [(900, 1000, True, False), (1001, 1000, True, True), (1001, 1002, True, False), (900, 1000, False, True)],
)
def test_a_reload_that_was_lost_is_found(
    state: Any, container: Any, changed: float, loaded: float, successful: bool, due: bool
) -> None:
    reloading = container(reloads=True, mount={"changed": changed})

    assert state.must_reload(reloading, loaded, successful) == due


def test_only_what_runs_and_reloads_is_told_to(state: Any, container: Any) -> None:
    assert not state.must_reload(container(mount={"changed": 1001}), 1000, True)
    assert not state.must_reload(container(reloads=True, running=False), 0, True)
