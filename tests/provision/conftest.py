"""A small second stack, beside whatever runs, to provision well and badly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
PROJECT = "cdc-provision-test"


@dataclass
class Outcome:
    """What a run of the playbook printed, and whether it succeeded."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        """The number of changed tasks in the recap."""
        return int(self.output.rsplit("changed=", 1)[1].split()[0])


@dataclass
class SmallStack:
    """A stack of two light services with its own name, directory, network and ports."""

    stack_dir: Path
    variables: dict[str, Any] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()

    def converge(self, playbook: str = "playbooks/up.yml", **variables: Any) -> Outcome:
        """Run a playbook with the stack's settings and `variables` on top."""
        given = json.dumps({**self.variables, **variables})
        program = (*self.wrapper, "scripts/playbook")
        command = [*program, "--inventory", "inventories/laptop", "--extra-vars", given, playbook]
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_NOCOLOR": "1",
        }
        run = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(run.returncode, run.stdout + run.stderr)

    @contextmanager
    def without_network(self) -> Iterator[SmallStack]:
        """The same stack, provisioned by processes that have no network but a loopback of their own.

        They reach the engine through its socket, as ever; the engine itself keeps its network.
        """
        name = f"{PROJECT}-alone"
        subprocess.run(["ip", "netns", "add", name], check=True)
        try:
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
            yield replace(self, wrapper=("ip", "netns", "exec", name))
        finally:
            subprocess.run(["ip", "netns", "delete", name], check=False)

    def containers(self) -> dict[str, tuple[str, str]]:
        """Return service to (container id, time of its last start)."""
        ids = docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {c["Config"]["Labels"]["com.docker.compose.service"]: (c["Id"], c["State"]["StartedAt"]) for c in found}

    def files(self) -> dict[str, str]:
        """Return path to content of everything that the services read."""
        return {
            str(path.relative_to(self.stack_dir)): path.read_text()
            for path in sorted(self.stack_dir.glob("[!.]*/**/*"))
            if path.is_file() and path.parent.name != "logs"
        }


def docker(*arguments: str) -> str:
    """Run the docker client and return what it printed."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def installed(program: str, package: str) -> str:
    """Return where a program is that only these tests need; its Debian package is installed where it is missing."""
    if not shutil.which(program):
        # A package's service is not started.
        arguments = f"name={package} install_recommends=false update_cache=true policy_rc_d=101"
        command = ["ansible", "localhost", "--become", "--module-name=ansible.builtin.apt", f"--args={arguments}"]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
    found = shutil.which(program)
    assert found, f"{package} has no {program}"
    return found


@pytest.fixture(scope="session")
def small_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallStack]:
    """The small stack, up and healthy; removed with its data afterwards."""
    stack = SmallStack(
        # Not below the test's temporary directory: containers of another user read it.
        stack_dir=Path.home() / ".local" / "share" / PROJECT,
        variables={
            "stack_project": PROJECT,
            "stack_services": ["webhook_receiver", "alertmanager"],
            "stack_network_subnet": "172.30.253.0/24",
            "stack_network_gateway": "172.30.253.1",
            "webhook_receiver_port": 25001,
            "alertmanager_port": 29093,
            "alertmanager_cluster_port": 29094,
            "stack_start_timeout": 60,
        },
    )
    stack.converge(
        "playbooks/destroy.yml", destroy_confirmed=True, stack_delta_tables_dir=str(tmp_path_factory.mktemp("tables"))
    )
    try:
        outcome = stack.converge()
        assert outcome.code == 0, outcome.output
        yield stack
    finally:
        stack.converge(
            "playbooks/destroy.yml",
            destroy_confirmed=True,
            stack_delta_tables_dir=str(tmp_path_factory.mktemp("tables")),
        )


@pytest.fixture
def untouched(small_stack: SmallStack) -> Iterator[Callable[[], None]]:
    """Fail where the test left other containers or files behind than it found."""
    containers, files = small_stack.containers(), small_stack.files()
    assert set(containers) == {"webhook-receiver", "alertmanager"}
    yield lambda: None
    assert small_stack.containers() == containers
    assert small_stack.files() == files
