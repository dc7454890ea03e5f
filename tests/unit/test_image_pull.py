"""An image from the team's registry: found, not there, or the registry is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Module = Callable[..., dict[str, Any]]
Program = Callable[[str, str], dict[str, str]]

MODULE = "compose_project/library/image_pull.py"
IMAGE = {"name": "cdc-workstation/kafka:4-0123456789ab", "registry": "127.0.0.1:5000/team/"}


def test_a_pulled_image_has_the_stacks_name_and_no_other(module: Module, program: Program, tmp_path: Path) -> None:
    environment = program("docker", f'echo "$@" >>{tmp_path}/calls')

    result = module(MODULE, environment, **IMAGE)

    assert (result["changed"], result["found"]) == (True, True)
    assert (tmp_path / "calls").read_text().splitlines() == [
        "image pull --quiet 127.0.0.1:5000/team/kafka:4-0123456789ab",
        "image tag 127.0.0.1:5000/team/kafka:4-0123456789ab cdc-workstation/kafka:4-0123456789ab",
        "image rm --no-prune 127.0.0.1:5000/team/kafka:4-0123456789ab",
    ]


def test_an_image_that_has_the_same_name_in_the_stack_keeps_it(
    module: Module, program: Program, tmp_path: Path
) -> None:
    environment = program("docker", f'echo "$@" >>{tmp_path}/calls')

    module(MODULE, environment, name="127.0.0.1:5000/team/kafka:4", registry="127.0.0.1:5000/team")

    assert (tmp_path / "calls").read_text().splitlines() == ["image pull --quiet 127.0.0.1:5000/team/kafka:4"]


@pytest.mark.parametrize(
    "said",
    [
        "manifest for 127.0.0.1:5000/team/kafka:4 not found: manifest unknown: manifest unknown",
        "failed to resolve reference 127.0.0.1:5000/team/kafka:4: 127.0.0.1:5000/team/kafka:4: not found",
    ],
)
def test_an_image_that_is_not_there_is_no_failure(module: Module, program: Program, said: str) -> None:
    result = module(MODULE, program("docker", f"echo 'Error response from daemon: {said}' >&2; exit 1"), **IMAGE)

    assert (result["changed"], result["found"]) == (False, False)


def test_a_registry_that_does_not_answer_is_a_failure(module: Module, program: Program) -> None:
    said = 'Error response from daemon: Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused'
    script = f"echo '{said}' >&2; exit 1"

    result = module(MODULE, program("docker", script), **IMAGE)

    assert result["failed"] is True
    assert "connection refused" in result["msg"]
    assert "stack_registry" in result["msg"]


def test_check_mode_pulls_nothing(module: Module, program: Program, tmp_path: Path) -> None:
    result = module(MODULE, program("docker", f"touch {tmp_path}/called"), _check=True, **IMAGE)

    assert (result["changed"], result["found"]) == (True, True)
    assert not (tmp_path / "called").exists()
